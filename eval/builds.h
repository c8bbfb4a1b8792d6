#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/profile.h"
#include "core/result.h"
#include "eval/evaluator.h"

namespace flurry::eval {

// Builds what many hosts need, by few `nix-store` programs that keep to the user's `max-jobs` together. A
// request is answered as soon as its own outputs are valid, or as soon as a derivation has failed that it
// needs: what several need is built once, and its failure is told to each of them. What was built is held
// from the garbage collector for as long as this lives. request() may be called by any thread.
class Builds {
 public:
  struct Hooks {
    // A line of some build's log, "name> line", for one of the requests that wait for its program.
    std::function<void(size_t request, std::string_view line)> on_line;
    // Once for each request. kFailed: the message names the derivation that failed, the end of its log, and
    // how to read all of it. kCancelled where Builds ends before.
    std::function<void(size_t request, Result<void> built)> on_built;
  };

  // `options` are those given to the evaluator; `expected`: requests that will come, or more. The hooks are
  // called on a thread of Builds' own.
  Builds(const EvalOptions& options, size_t expected, Hooks hooks);
  ~Builds();  // ends what still runs
  Builds(const Builds&) = delete;
  Builds& operator=(const Builds&) = delete;

  // `request` is the caller's own number for it.
  void request(size_t request, std::vector<ProfileDerivation> derivations);

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

// What `max-jobs` in `nix show-config` means here; 0: remote builders only.
size_t jobs_of(std::string_view max_jobs, size_t cores);

}  // namespace flurry::eval
