#pragma once

#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "core/fleet.h"
#include "core/result.h"
#include "core/selector.h"
#include "core/time.h"
#include "eval/eval_place.h"
#include "eval/evaluator.h"
#include "eval/hosts_json.h"

namespace flurry::eval {

// An output of a flake that says of many hosts how to deploy them.
struct FleetOutput {
  const char* name;   // "deploy"
  const char* looks;  // Nix: of an `x` for which this is false, it isn't sure that it is this output
  std::string
      common;         // Nix that takes it and gives what is said of all, with an attribute of nulls for hosts
  const char* hosts;  // that attribute: "nodes"
  EvalPlace host;     // where "settings" of a host are asked for, and "tags" alone
  bool has_tags;
  bool is_heavy;  // a host's settings take the evaluation of modules
};

// What one question to an output found; no text: the flake doesn't have the output.
using Probe = std::optional<std::string>;

// The questions to one flake.
class FlakeReader {
 public:
  FlakeReader(const EvalOptions& options, TimePoint deadline, std::stop_token stop)
      : options_(options), deadline_(deadline), stop_(std::move(stop)) {}

  // Fills source(): flake_ref, eval_ref, lock and revision.
  Result<void> lock(const std::string& flake_ref);

  // What `expression` makes of the output. Nix looks into packages first: what doesn't look right, or fails,
  // is asked for again where no package is in the way.
  Result<Probe> probe(const std::string& output, const std::string& looks,
                      const std::string& expression) const;

  // Two at a time, as the processes do nothing but wait for their own evaluation.
  std::pair<Result<Probe>, Result<Probe>> probe_both(const FleetOutput& a, const FleetOutput& b) const;

  // Asks for each host, but for those that `wanted` leaves out by their names, and puts the answers into what
  // probe() gave. `by_tags`: something else selects by tags.
  Result<Reading> read(const FleetOutput& output, const Selector* wanted, bool by_tags, Json& common) const;

  const Fleet& source() const { return source_; }

 private:
  Result<Probe> probe_with(const EvalOptions& options, const std::string& output,
                           const std::string& expression) const;
  Error explained(Error error) const;
  void read_metadata(const Json& root);

  const EvalOptions& options_;
  const TimePoint deadline_;
  const std::stop_token stop_;
  Fleet source_;
};

}  // namespace flurry::eval
