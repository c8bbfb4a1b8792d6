#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <string_view>

#include "core/result.h"
#include "core/time.h"
#include "eval/evaluator.h"

namespace flurry::eval {

// Builds derivations by the `nix-store` program, with or without a Nix daemon. What it built is held
// by GC roots in a temporary directory as long as the Builder lives. One thread at a time: make one
// Builder for each thread that builds; Nix shares what two hosts have in common.
class Builder {
 public:
  // `options` are those given to the evaluator.
  explicit Builder(const EvalOptions& options) : options_(options) {}
  ~Builder();
  Builder(const Builder&) = delete;
  Builder& operator=(const Builder&) = delete;

  // A line of some build's log: "name> line". Called on the thread of its build().
  using OnLog = std::function<void(std::string_view line)>;

  // Returns when the output is valid; at once when it is already. kFailed: the message names the
  // derivation that failed, the end of its log, and how to read all of it. kTimedOut; kCancelled: a
  // stop is looked at before the start.
  Result<void> build(const ProfileDerivation& derivation, const OnLog& on_log, TimePoint deadline,
                     std::stop_token stop);

 private:
  Result<void> make_roots();

  const EvalOptions options_;
  std::string roots_;  // the roots' directory; empty before the first build
};

}  // namespace flurry::eval
