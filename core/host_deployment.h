#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "core/activation_record.h"
#include "core/fleet.h"
#include "core/health_gate.h"
#include "core/names.h"
#include "core/outcome.h"
#include "core/profile.h"
#include "core/result.h"
#include "core/time.h"

namespace flurry {

// Where a host is on its way; what people see beside its name.
enum class Stage {
  kPreflight,
  kEvaluate,
  kBuild,
  kCopy,
  kWaiting,
  kActivate,
  kCheck,
  kConfirm,
  kCommit,
  kRollBack,
  kEnded,
};

// "roll-back"
std::string_view to_string(Stage stage);

// What a host's agent says of it.
struct HostFacts {
  SystemState state;
  std::optional<StorePath> wrapped;    // the system in what the system profile names, where that is a wrapper
  std::string system;                  // "x86_64-linux"
  long long clock_skew_ms = 0;         // its wall clock minus ours
  std::optional<std::string> held_by;  // "01J… of alice@laptop (checking)"; none: free
  std::string half_switched;           // why it is between two systems; empty: it isn't
  std::vector<std::string> unknown_users = {};  // of profiles that were asked about
};

// A deployment as its host tells it.
struct AgentView {
  bool known = false;
  uint64_t revision = 0;
  Phase phase = Phase::kPrepared;
  std::optional<Phase> back_from;  // the phase in which it turned back, once it has
  std::optional<Outcome> outcome;
  std::string reason;
  std::string output;
  Millis remaining{0};  // of the present phase
  std::vector<std::string> health;
};

// What the controller does for one host. Each ends, by its deadline at the latest, with one ActionEnded.
namespace action {

struct Connect {};   // dial, bring the agent along, inspect -> HostFacts
struct Evaluate {};  // -> HostDerivations (not built yet)
struct Build {
  HostDerivations system;
};
struct Copy {
  std::vector<StorePath> paths;
  std::vector<StorePath> bases;  // what the host has that they may be successors of; it may be gone meanwhile
  bool only_estimate = false;    // what it would take; nothing is changed
};
struct Begin {
  ActivationSpec spec;
};  // over the connection that is there
struct Observe {
  uint64_t seen;
};                   // likewise, a long poll -> AgentView
struct Reattach {};  // over a new connection, which replaces it -> AgentView
struct Confirm {
  std::string nonce;
};  // likewise, with the nonce -> AgentView

using Any = std::variant<Connect, Evaluate, Build, Copy, Begin, Observe, Reattach, Confirm>;

}  // namespace action

using ActionValue = std::variant<std::monostate, HostFacts, HostDerivations, AgentView>;

struct HostResult {
  Outcome outcome = Outcome::kUnknown;
  Stage stage = Stage::kPreflight;  // where it failed; kEnded where nothing did
  std::string reason;
  std::string output;
  std::string from_path;
  std::string to_path;
  std::optional<HealthProof> proof = {};  // of a success
  std::optional<ErrorKind> cause = {};    // of a failure that we met ourselves
};

// What one run of the controller wants of every host alike.
struct DeploymentOptions {
  DeploymentId deployment;
  std::string who;
  std::string revision;
  Goal goal = Goal::kSwitch;
  bool magic_rollback = true;  // of the command line; the host's setting can only turn it off too
  bool allow_no_rollback = false;
  bool only_plan = false;  // with Goal::kPush: nothing is copied, only what it would take is told
  std::optional<Millis> confirm_timeout;  // over the host's setting
};

// A closure that the host already has, to which a profile shall go (`flurry rollback`).
struct FixedProfile {
  ProfileRef profile;
  StorePath path;
  uint64_t generation = 0;  // that it is taken from
};

// What is one host's own in a deployment.
struct HostTicket {
  std::string nonce;                     // secret until it confirms
  std::vector<FixedProfile> fixed = {};  // where not empty: these profiles, and nothing that the flake says
};

// One host's way through a deployment (CONTRACT section 2), as a state machine without I/O. At most one
// action is in flight, but for preflight and evaluation, which run side by side. The rollout drives it.
class HostDeployment {
 public:
  HostDeployment(const HostConfig& host, const DeploymentOptions& options, HostTicket ticket);

  // What to start now. A host that wants to proceed and may not stays where it is.
  std::vector<action::Any> next(TimePoint now, bool may_proceed);

  void on_ended(TimePoint now, const action::Any& what, const Result<ActionValue>& result);

  std::optional<TimePoint> next_wakeup() const { return is_ended() ? std::nullopt : wake_; }

  bool is_ended() const { return result_.has_value(); }
  const HostResult& result() const { return *result_; }
  Stage stage() const { return stage_; }
  // True when it waits for a gate.
  bool wants_to_proceed() const;
  // True from the first gate to the end: it takes one of the rollout's places.
  bool is_under_way() const { return proceeded_ && !is_ended(); }
  // True when something on the host may be switched and its outcome is still open.
  bool is_activating() const { return begun_ && !is_ended(); }

  // The user stops. Ends a host that nothing was begun on as skipped.
  void skip(const std::string& reason);
  // The user detaches: what is open is unknown from here.
  void detach();

 private:
  enum class Next { kPrepare, kProceed, kBuild, kCopy, kBegin, kObserve, kReattach, kConfirm, kWait, kIdle };

  std::vector<action::Any> start(TimePoint now);
  Millis agent_time() const;
  std::vector<action::Any> prepare();
  void on_connected(const Result<ActionValue>& result);
  void on_evaluated(const Result<ActionValue>& result);
  void on_begun(TimePoint now, const Result<ActionValue>& result);
  void on_view(TimePoint now, const action::Any& what, const AgentView& view);
  void on_outcome(const AgentView& view);
  void on_lost(TimePoint now, const action::Any& what, const Error& error);
  void look_again(TimePoint now, const action::Any& what, bool is_news);
  bool is_overdue(TimePoint now);
  std::string told_of_confirmation(const AgentView& view) const;
  std::string what_the_host_does() const;
  void settle_unchanged();
  std::string unknown_user() const;
  bool is_committed(const ProfileDerivation& profile) const;
  void fail(Stage stage, const std::string& reason, std::optional<ErrorKind> cause = {});
  void wait(Next then, TimePoint until);
  void end(Outcome outcome, Stage stage, std::string reason, std::string output = {});
  ActivationSpec spec() const;
  std::vector<StorePath> paths() const;
  std::string names() const;
  std::string planned_change() const;
  std::vector<StorePath> bases() const;
  Millis activation_time() const;
  bool needs_a_way_back() const;
  bool needs_host() const { return options_.goal != Goal::kBuild; }

  const HostConfig& host_;
  const DeploymentOptions& options_;
  const HostTicket ticket_;
  Stage stage_ = Stage::kPreflight;
  Stage forward_stage_ = Stage::kActivate;  // where it was before it went back
  Next next_ = Next::kPrepare;
  bool proceeded_ = false;
  bool begun_ = false;  // Begin may have reached the agent
  std::optional<HostFacts> facts_;
  std::optional<HostDerivations> system_;
  uint64_t seen_ = 0;
  Phase phase_ = Phase::kPrepared;
  std::optional<Error> dial_error_;  // of the last dial since the host was heard of
  bool has_called_ = false;          // a confirmation was dialled for
  int refusals_ = 0;                 // dials that failed since the host last said no
  int answers_ = 0;                  // that said something new
  TimePoint asked_at_{};
  TimePoint give_up_{};     // after this an unreachable host is unknown
  TimePoint limit_{};       // after this any is, whatever its agent says
  bool has_grace_ = true;   // both may have been asleep: the first answer after it gets a moment more
  bool went_back_ = false;  // its time for going back is granted
  Next after_wait_ = Next::kReattach;
  std::optional<TimePoint> wake_;
  std::optional<HostResult> result_;
};

}  // namespace flurry
