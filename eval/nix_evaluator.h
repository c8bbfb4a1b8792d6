#pragma once

#include <optional>

#include "core/nix/daemon.h"
#include "eval/evaluator.h"

namespace flurry::eval {

// Evaluates by the `nix` program in PATH (2.8 and newer). What it finds stays in the store for as long as it
// lives. The deadline and a stop end a running program.
class NixEvaluator : public Evaluator {
 public:
  explicit NixEvaluator(EvalOptions options) : options_(std::move(options)) {}

  Result<Fleet> load_hosts(const std::string& flake_ref, const Selector* wanted, TimePoint deadline,
                           std::stop_token stop) override;
  void evaluate(const Fleet& fleet, const std::vector<size_t>& hosts, const OnHost& on_host,
                TimePoint deadline, std::stop_token stop) override;

 private:
  const EvalOptions options_;
  std::optional<nix::Daemon> store_;  // holds what was evaluated; none: there is no daemon, nothing is held
};

}  // namespace flurry::eval
