#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/host_deployment.h"
#include "core/profile.h"
#include "core/rollout.h"
#include "core/time.h"

namespace flurry {

struct DeploymentInfo {
  std::string deployment;  // ULID
  std::string flake;
  std::string revision;
  Goal goal = Goal::kSwitch;
  std::string who;
  std::vector<std::string> hosts;
  bool magic_rollback = true;  // false is said loudly
  bool only_plan = false;
};

struct CopyState {
  uint64_t bytes_total = 0;
  uint64_t bytes_sent = 0;
  uint64_t paths_total = 0;
  uint64_t paths_done = 0;
  uint64_t wire_bytes = 0;  // sent, before SSH encrypted it
};

// What bringing a host what it needed took. Bytes are those of NARs, but for wire_bytes.
struct CopyAccount {
  uint64_t closure_paths = 0;
  uint64_t closure_bytes = 0;
  uint64_t copied_paths = 0;  // the others were there
  uint64_t copied_bytes = 0;
  uint64_t delta_paths = 0;  // of the copied ones, those that went as deltas
  uint64_t delta_bytes = 0;
  uint64_t substituted_paths = 0;  // that the host fetched itself
  uint64_t substituted_bytes = 0;
  uint64_t wire_bytes = 0;
  Millis elapsed{0};
};

// What a deployment would bring a host. Bytes are those of NARs, but for wire_bytes.
struct CopyPlan {
  bool builds_there = false;  // the host builds for itself: what it lacks then isn't known
  uint64_t closure_paths = 0;
  uint64_t closure_bytes = 0;
  uint64_t missing_paths = 0;
  uint64_t missing_bytes = 0;
  uint64_t substituted_paths = 0;  // of the missing ones, what the host would fetch itself
  uint64_t substituted_bytes = 0;
  uint64_t wire_bytes = 0;  // of the rest, about
};

struct HostListing {
  std::string host;
  std::vector<std::string> addresses;
  std::string user;  // empty: as ssh has it
  std::optional<uint16_t> port;
  std::vector<std::string> tags;
  std::vector<ProfileRef> profiles;  // in the order of activation
  std::vector<std::string> checks;
  std::vector<std::string> requires_hosts;
  std::string error;  // what is wrong with what the flake says of it; empty: nothing
};

// What a deployment did, or was to do, to one profile.
struct PastChange {
  std::string profile, from_path, to_path;
  uint64_t taken_from = 0;  // a rollback: the generation that it went back to; 0: no rollback
};

// A deployment as a host remembers it.
struct PastDeployment {
  std::string deployment, who, revision, goal, phase, outcome, reason, from_path, to_path;
  long long started_unix_ms = 0;
  long long ended_unix_ms = 0;
  std::vector<PastChange> changes = {};
};

struct StatusReport {
  std::string host;
  std::string error;  // why it could not be asked; empty: the rest is set
  SystemState state;
  std::optional<StorePath> wrapped;  // the system in what the profile names, where that is a wrapper
  std::string booted;
  std::string desired;  // system that the flake says; empty: not evaluated, or it says none
  std::map<std::string, std::string> desired_profiles;  // of users, by name
  std::string desired_error;                            // why the flake could not tell
  bool reboot_needed = false;
  std::string system_running;  // "running", "degraded"
  std::string agent_version;
  std::optional<PastDeployment> active;
  std::optional<PastDeployment> last;
  std::vector<std::string> notes;  // what somebody should know of this host
};

// What `eval` found out about a host.
struct EvaluationReport {
  struct Profile {
    std::string name, drv, out;
  };
  std::string host;
  std::string error;  // why it could not be evaluated; empty: the rest is set
  std::vector<Profile> profiles;
};

struct CheckReport {
  std::string host;
  std::string check;
  bool passed = false;
  bool required = true;
  std::string message;
};

// Where everything that a run has to say goes: to a person's terminal, to a log, or to a program. Main
// thread only. Text from hosts and Nix is hostile: control characters never reach a terminal.
class Reporter {
 public:
  virtual ~Reporter() = default;

  virtual void started(const DeploymentInfo& info) = 0;
  virtual void stage(const std::string& host, Stage stage) = 0;
  // A line that a program printed for the host, or a note of ours.
  virtual void log(const std::string& host, Stage stage, std::string_view line) = 0;
  virtual void copying(const std::string& host, const CopyState& state) = 0;
  // What `plan` found out.
  virtual void planned(const std::string& host, const CopyPlan& plan) = 0;
  // All that the host needs is there.
  virtual void copied(const std::string& host, const CopyAccount& account) = 0;
  virtual void ended(const std::string& host, const HostResult& result, Millis elapsed) = 0;
  virtual void finished(const std::vector<HostResult>& results, int exit_code, Millis elapsed) = 0;

  virtual void listed(const HostListing& listing) = 0;
  virtual void evaluated(const EvaluationReport& report) = 0;
  virtual void status(const StatusReport& report) = 0;
  virtual void checked(const CheckReport& report) = 0;

  // What is not about one host: a note, or what ended the whole run.
  virtual void note(std::string_view text) = 0;
  virtual void failed(std::string_view message, int exit_code) = 0;

  // Redraws what is live; called at least every 100 ms while something runs.
  virtual void tick(TimePoint now) = 0;

  // The errno for which results were lost on their way out; 0: none were.
  virtual int lost_output() const { return 0; }
};

}  // namespace flurry
