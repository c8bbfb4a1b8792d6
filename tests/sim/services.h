#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/system_state.h"
#include "tests/sim/timeline.h"

namespace flurry::sim {

// How one system declares a unit. Another version is another file.
struct Declared {
  enum class Start { kWell, kFails, kDependencyFails };
  int version = 1;
  Start start = Start::kWell;
  bool reload_fails = false;
};

// The units of one system, by name.
using Configuration = std::map<std::string, Declared>;

// What is the same of a unit in every system that has it.
struct Kind {
  enum class Change { kStopStart, kRestart, kReload };
  std::string name;
  bool is_wanted = true;  // by a target that is active
  bool may_end = false;   // a bus name brings it back, or somebody has started it by hand
  Change change = Change::kStopStart;
  std::string needs = {};  // Requires=
};
const std::vector<Kind>& kinds();
const Kind& kind_of(const std::string& name);

struct Service {
  enum class State { kInactive, kActive, kFailed };
  State state = State::kInactive;
  std::optional<int> version;  // that it was started with or has reloaded; nothing: a reload failed
  bool ended_by_itself = false;
  bool failed_by_itself = false;  // after it had started
  bool operator==(const Service&) const = default;
};

// What a run of switch-to-configuration has printed, and what went wrong in it.
struct Said {
  std::string lines;
  bool has_failed_jobs = false;
};

// systemd with the units of the installed systems, and what switches leave in /run/nixos. All of it goes with
// the power. The steps of a switch are those of docs/nixos.md.
class Services {
 public:
  using Lists = std::map<std::string, std::set<std::string>>;  // "reload-list"

  void boot(const Configuration& files);
  // Writes down what is to be done from one system's files to another's; returns what is to be stopped.
  std::set<std::string> plan(const Configuration& from, const Configuration& to);
  void stop(const std::set<std::string>& units, Said& said);
  // False: it ends there, and the lists stay.
  bool reload(const Configuration& files, Said& said);
  void restart(const Configuration& files, Said& said);
  void start(const Configuration& files, Said& said);
  // As far as the dice say: a switch that is broken off in the middle of it. Lists stay.
  std::set<std::string> half_of(const std::set<std::string>& units, Dice& dice) const;
  void restart_some(const std::set<std::string>& units, const Configuration& files);
  void start_some(const std::set<std::string>& units, const Configuration& files);
  void stop_all();

  bool end_by_itself(const std::string& name);
  void fail(const std::string& name);

  bool is_active(const std::string& name) const;
  std::vector<std::string> failed() const;
  std::vector<SteadyUnit> steady() const;
  std::vector<MissingUnit> missing(const std::vector<SteadyUnit>& recorded, const Configuration& files) const;
  std::vector<std::string> leftovers() const;
  // effect::ClearLeftovers
  void clear_lists();
  const std::map<std::string, Service>& all() const { return services_; }

  Lists lists;
  std::vector<UnitJob> jobs;

 private:
  bool start_one(const std::string& name, const Configuration& files);
  void stop_one(const std::string& name);

  std::map<std::string, Service> services_;
};

}  // namespace flurry::sim
