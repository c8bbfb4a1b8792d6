#pragma once

#include <optional>
#include <string>
#include <vector>

#include "core/health_policy.h"
#include "core/switch_report.h"
#include "core/system_state.h"

namespace flurry {

// What has to be observed of a host before a switch may be called done, or undone: one rule for the way
// forward and the way back. The switch's exit code and its lines only say where to look and add names.

enum class Direction { kForward, kBack };

// How a run of switch-to-configuration ended.
struct SwitchRun {
  std::optional<int> exit_code;  // none: killed, or lost
  std::string stopped;           // why it was stopped; empty: it wasn't
  bool has_output = false;       // it printed something, and that could be read
  SwitchReport report;
  // This program would have said so, had its activation script failed (it holds the sentence for it).
  bool tells_failed_activation = true;
};

// A system that is to run: what /run/current-system and /etc/static name then. Nothing: not known.
struct WantedSystem {
  std::optional<StorePath> running;
  std::optional<std::string> etc;
};

struct SwitchVerdict {
  enum class Kind {
    kWell,       // whether the units stay well is for the health checks
    kUntouched,  // it ended before it changed anything
    kWaiting,    // jobs that it queued have not ended
    kFailed,
  };
  Kind kind = Kind::kFailed;
  std::string why;  // for people; empty where all is well
};

// `now` is read after the run, with the states of report_units(). Never throws; any thread.
SwitchVerdict judge_switch(const SwitchRun& run, const SystemState& before, const SystemState& now,
                           const WantedSystem& wanted, Direction direction);

// Whose states judge_switch() needs.
std::vector<std::string> report_units(const SwitchReport& report);

// Units that were active and are lost, each with what became of it: "app.service (was active, is inactive)".
// Forward, a unit that the release removes is not lost.
std::vector<std::string> lost_units(const SystemState& now, Direction direction);

// The names of those that a start may bring back.
std::vector<std::string> startable_units(const SystemState& now);

// Jobs that count: those of the recorded state don't, nor those of units that neither the switch queued, nor
// the release changes, nor are missing.
std::vector<std::string> waiting_jobs(const SystemState& before, const SystemState& now,
                                      const std::vector<std::string>& queued);

// What a host's units have against its health: those that count as failed by the policy, and the lost ones.
std::vector<std::string> unwell_units(const SystemState& before, const SystemState& now, FailedUnits policy);

// Units in `failed` that are not in `baseline`; flurry's own transient units never count.
std::vector<std::string> newly_failed(const std::vector<std::string>& failed,
                                      const std::vector<std::string>& baseline);

// A unit that flurry itself starts on a host, by its exact name.
bool is_own_unit(const std::string& unit);

// Why the host is between two systems (its /etc is not of what runs, or a broken-off switch has left its
// lists); empty: it isn't.
std::string half_switched(const SystemState& state, const std::optional<std::string>& etc_of_running);

}  // namespace flurry
