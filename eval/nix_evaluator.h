#pragma once

#include "eval/evaluator.h"

namespace flurry::eval {

// Evaluates by the `nix` program in PATH (2.8 and newer). A stop is seen between two processes;
// the deadline ends a running one.
class NixEvaluator : public Evaluator {
 public:
  explicit NixEvaluator(EvalOptions options) : options_(std::move(options)) {}

  Result<Fleet> load_fleet(const std::string& flake_ref, TimePoint deadline, std::stop_token stop) override;
  void evaluate(const Fleet& fleet, const std::vector<size_t>& hosts, const OnHost& on_host,
                TimePoint deadline, std::stop_token stop) override;

 private:
  const EvalOptions options_;
};

}  // namespace flurry::eval
