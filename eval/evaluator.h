#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "core/fleet.h"
#include "core/names.h"
#include "core/profile.h"
#include "core/result.h"
#include "core/selector.h"
#include "core/time.h"

namespace flurry::eval {

// What the user's options say about evaluation; given to every call of Nix alike.
struct EvalOptions {
  std::vector<std::pair<std::string, std::string>> override_inputs;  // --override-input NAME FLAKE
  std::vector<std::pair<std::string, std::string>> nix_options;      // --option NAME VALUE
  bool impure = false;
  bool show_trace = false;
  std::optional<FleetSchema> schema;  // --schema; none: the first that the flake has
  size_t workers_max = 0;             // Nix processes at a time; 0: as cores and memory allow
  size_t memory = 0;  // bytes for all of them together; 0: three quarters of what is available
  std::vector<std::string> environment;  // "NAME=value" for Nix, added to or replacing ours
};

// Reads flakes. One thread at a time; calls block until done, deadline or stop.
class Evaluator {
 public:
  virtual ~Evaluator() = default;

  // The hosts that `wanted` selects (null: all) of the fleet that `flake_ref` (without fragment; "." and
  // relative paths as Nix has them) declares; where names alone can tell who that is, the others aren't
  // looked at. What is wrong with one host is in that host. kInvalidInput: the flake, or the selector, says
  // something wrong that is everybody's; kUnsupported: something that this version can't do; kFailed: Nix
  // failed (its message); kTimedOut; kCancelled.
  virtual Result<Fleet> load_hosts(const std::string& flake_ref, const Selector* wanted, TimePoint deadline,
                                   std::stop_token stop) = 0;
  Result<Fleet> load_fleet(const std::string& flake_ref, TimePoint deadline, std::stop_token stop) {
    return load_hosts(flake_ref, nullptr, deadline, std::move(stop));
  }

  using OnHost = std::function<void(size_t host, Result<HostDerivations> derivations)>;

  // Instantiates the profiles of these hosts (indexes into fleet.hosts); nothing is built. `on_host` is
  // called exactly once for each of them, on the calling thread, as soon as its result is known: one host's
  // error is its own, be it of the evaluation or HostConfig::error. After a stop or the deadline the rest get
  // kCancelled or kTimedOut.
  virtual void evaluate(const Fleet& fleet, const std::vector<size_t>& hosts, const OnHost& on_host,
                        TimePoint deadline, std::stop_token stop) = 0;
};

}  // namespace flurry::eval
