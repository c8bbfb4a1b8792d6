#include "core/host_deployment.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "core/check.h"

namespace flurry {
namespace {

// How long a host may be out of reach after the last moment at which it decides by itself: a rollback
// takes a moment, and so do ARP and sshd.
constexpr Millis kReturnMargin{60'000};
constexpr Millis kRetry{1000};
// Wall clocks further apart make certificates, logs and caches lie.
constexpr long long kSkewMax = 24LL * 3600 * 1000;

Stage stage_of(Phase phase) {
  switch (phase) {
    case Phase::kPrepared:
    case Phase::kSwitching:
      return Stage::kActivate;
    case Phase::kChecking:
      return Stage::kCheck;
    case Phase::kAwaitingConfirmation:
      return Stage::kConfirm;
    case Phase::kConfirmed:
    case Phase::kProfileSet:
    case Phase::kCommitted:
      return Stage::kCommit;
    case Phase::kRollingBack:
      return Stage::kRollBack;
    case Phase::kEnded:
      return Stage::kEnded;
  }
  return Stage::kActivate;
}

}  // namespace

std::string_view to_string(Stage stage) {
  switch (stage) {
    case Stage::kPreflight:
      return "preflight";
    case Stage::kEvaluate:
      return "evaluate";
    case Stage::kBuild:
      return "build";
    case Stage::kCopy:
      return "copy";
    case Stage::kWaiting:
      return "waiting";
    case Stage::kActivate:
      return "activate";
    case Stage::kCheck:
      return "check";
    case Stage::kConfirm:
      return "confirm";
    case Stage::kCommit:
      return "commit";
    case Stage::kRollBack:
      return "roll-back";
    case Stage::kEnded:
      return "ended";
  }
  return "?";
}

HostDeployment::HostDeployment(const HostConfig& host, const DeploymentOptions& options, HostTicket ticket)
    : host_(host), options_(options), ticket_(std::move(ticket)) {}

bool HostDeployment::wants_to_proceed() const {
  const bool connected = facts_.has_value() || !needs_host();
  return !is_ended() && next_ == Next::kProceed && connected && system_.has_value();
}

std::vector<action::Any> HostDeployment::next(TimePoint now, bool may_proceed) {
  if (is_ended()) return {};
  if (next_ == Next::kWait && wake_ && now >= *wake_) {
    wake_.reset();
    // A confirmation that comes too late is answered with what happened: nothing is lost by asking.
    next_ = phase_ == Phase::kAwaitingConfirmation ? Next::kConfirm : Next::kReattach;
  }
  if (next_ == Next::kProceed && wants_to_proceed()) {
    stage_ = Stage::kWaiting;
    if (!may_proceed) return {};
    proceeded_ = true;
    next_ = ticket_.fixed_path ? Next::kBegin : Next::kBuild;
  }
  return start(now);
}

std::vector<action::Any> HostDeployment::start(TimePoint now) {
  switch (std::exchange(next_, next_ == Next::kProceed || next_ == Next::kWait ? next_ : Next::kIdle)) {
    case Next::kPrepare:
      return prepare();
    case Next::kBuild:
      stage_ = Stage::kBuild;
      return {action::Build{*system_}};
    case Next::kCopy:
      stage_ = Stage::kCopy;
      return {action::Copy{paths(), bases(), options_.only_plan}};
    case Next::kBegin:
      begun_ = true;
      stage_ = Stage::kActivate;
      give_up_ = now + activation_time() + host_.health.deadline + spec().confirm_timeout + kReturnMargin;
      return {action::Begin{spec()}};
    case Next::kObserve:
      return {action::Observe{seen_}};
    case Next::kReattach:
      return {action::Reattach{}};
    case Next::kConfirm:
      return {action::Confirm{ticket_.nonce}};
    case Next::kProceed:
    case Next::kWait:
    case Next::kIdle:
      return {};
  }
  return {};
}

std::vector<action::Any> HostDeployment::prepare() {
  next_ = Next::kProceed;
  std::vector<action::Any> out;
  if (needs_host()) out.push_back(action::Connect{});
  if (ticket_.fixed_path)
    system_ =
        HostDerivations{{{system_profile(*ticket_.fixed_path), *ticket_.fixed_path, *ticket_.fixed_path}}};
  else
    out.push_back(action::Evaluate{});
  return out;
}

void HostDeployment::on_ended(TimePoint now, const action::Any& what, const Result<ActionValue>& result) {
  if (is_ended()) return;
  if (std::holds_alternative<action::Connect>(what)) return on_connected(result);
  if (std::holds_alternative<action::Evaluate>(what)) return on_evaluated(result);
  if (std::holds_alternative<action::Begin>(what)) return on_begun(now, result);
  if (std::holds_alternative<action::Build>(what)) {
    if (!result) return fail(Stage::kBuild, result.error().message);
    if (options_.goal == Goal::kBuild) return end(Outcome::kStaged, Stage::kEnded, "built " + names());
    next_ = Next::kCopy;
    return;
  }
  if (std::holds_alternative<action::Copy>(what)) {
    if (!result) return fail(Stage::kCopy, result.error().message);
    if (options_.only_plan) return end(Outcome::kStaged, Stage::kEnded, planned_change());
    if (options_.goal == Goal::kPush) return end(Outcome::kStaged, Stage::kEnded, "copied " + names());
    next_ = Next::kBegin;
    return;
  }
  // Observe, Reattach and Confirm tell how it stands, or that the connection is gone.
  const auto* view = result ? std::get_if<AgentView>(&*result) : nullptr;
  if (view) return on_view(now, *view);
  on_lost(now, result ? Error{ErrorKind::kFailed, "no answer"} : result.error());
}

void HostDeployment::on_connected(const Result<ActionValue>& result) {
  if (!result) {
    const bool offline =
        result.error().kind == ErrorKind::kUnreachable || result.error().kind == ErrorKind::kTimedOut;
    if (offline && host_.allow_offline)
      return end(Outcome::kSkipped, Stage::kPreflight, result.error().message);
    return fail(Stage::kPreflight, result.error().message);
  }
  facts_ = *std::get_if<HostFacts>(&*result);
  if (facts_->held_by)
    return fail(Stage::kPreflight, "another deployment holds the host: " + *facts_->held_by +
                                       "; wait for its end or look with flurry status");
  if (std::llabs(facts_->clock_skew_ms) > kSkewMax)
    return fail(Stage::kPreflight, "the host's clock is off by " +
                                       std::to_string(facts_->clock_skew_ms / 1000) +
                                       " s; set it and try again");
  if (needs_a_way_back() && !facts_->state.running)
    return fail(Stage::kPreflight, std::string(kNoRunningSystem) + std::string(kAllowNoRollback));
  if (stage_ == Stage::kPreflight && !system_) stage_ = Stage::kEvaluate;
  settle_unchanged();
}

// Said before anything is built for the host. What its agent alone can know, it refuses later.
bool HostDeployment::needs_a_way_back() const {
  const bool switches = options_.goal == Goal::kSwitch || options_.goal == Goal::kTest;
  const bool has_system = ticket_.fixed_path || host_.profiles.count(std::string(kSystemProfile)) > 0;
  return switches && has_system && !options_.allow_no_rollback;
}

void HostDeployment::on_evaluated(const Result<ActionValue>& result) {
  if (!result) return fail(Stage::kEvaluate, result.error().message);
  system_ = *std::get_if<HostDerivations>(&*result);
  settle_unchanged();
}

// Nothing is built, copied or touched where the host runs and has committed the very same closure.
void HostDeployment::settle_unchanged() {
  if (!facts_ || !system_) return;
  const auto& profiles = system_->profiles;
  const bool committed =
      std::all_of(profiles.begin(), profiles.end(),
                  [this](const ProfileDerivation& profile) { return is_committed(profile); });
  const bool may_be_unchanged = options_.goal == Goal::kSwitch || options_.only_plan;
  if (may_be_unchanged && committed) end(Outcome::kUnchanged, Stage::kEnded, "");
}

bool HostDeployment::is_committed(const ProfileDerivation& built) const {
  const bool runs = !built.profile.is_system() || facts_->state.running == built.out ||
                    (facts_->wrapped && facts_->state.running == facts_->wrapped);
  return runs && profile_state(facts_->state, built.profile).path == built.out;
}

std::vector<StorePath> HostDeployment::paths() const {
  std::vector<StorePath> out;
  for (const auto& profile : system_->profiles) out.push_back(profile.out);
  return out;
}

std::string HostDeployment::names() const {
  std::string out;
  for (const auto& path : paths()) out += (out.empty() ? "" : " ") + path.str();
  return out;
}

std::string HostDeployment::planned_change() const {
  const auto* system = system_->system();
  const std::string change =
      system == nullptr || !facts_->state.running
          ? ""
          : "would go from " + facts_->state.running->str() + " to " + system->out.str() + "; ";
  return change + "nothing was changed";
}

std::vector<StorePath> HostDeployment::bases() const {
  std::vector<StorePath> out;
  const auto add = [&out](const std::optional<StorePath>& path) {
    if (path && std::find(out.begin(), out.end(), *path) == out.end()) out.push_back(*path);
  };
  add(facts_->state.running);
  for (const auto& built : system_->profiles) add(profile_state(facts_->state, built.profile).path);
  return out;
}

Millis HostDeployment::activation_time() const {
  return host_.activation_timeout * static_cast<long long>(system_->profiles.size());
}

void HostDeployment::on_begun(TimePoint now, const Result<ActionValue>& result) {
  if (result) {
    next_ = Next::kObserve;
    return;
  }
  const ErrorKind kind = result.error().kind;
  const bool refused = kind == ErrorKind::kRefused || kind == ErrorKind::kInvalidInput ||
                       kind == ErrorKind::kUnsupported || kind == ErrorKind::kFailed;
  if (refused) return fail(Stage::kActivate, result.error().message);
  on_lost(now, result.error());  // it may have arrived
}

void HostDeployment::on_view(TimePoint now, const AgentView& view) {
  lost_.clear();
  if (!view.known) {
    if (phase_ == Phase::kPrepared && seen_ == 0)
      return fail(Stage::kActivate,
                  "the deployment never began: the connection was lost, and the agent has no record of it");
    return end(Outcome::kUnknown, stage_,
               "the agent has no record of the deployment any more; look at the host");
  }
  seen_ = view.revision;
  if (view.phase == Phase::kRollingBack && phase_ != Phase::kRollingBack)
    give_up_ = std::max(give_up_, now + 2 * activation_time() + kReturnMargin);
  phase_ = view.phase;
  if (view.outcome) {
    const bool good = *view.outcome == Outcome::kSucceeded || *view.outcome == Outcome::kStaged ||
                      *view.outcome == Outcome::kUnchanged;
    // The host knows best where it turned back: we may have been cut off long before.
    const Stage failed = view.back_from ? stage_of(*view.back_from) : forward_stage_;
    return end(*view.outcome, good ? Stage::kEnded : failed, view.reason, view.output);
  }
  stage_ = stage_of(view.phase);
  if (stage_ != Stage::kRollBack && stage_ != Stage::kEnded) forward_stage_ = stage_;
  next_ = phase_ == Phase::kAwaitingConfirmation ? Next::kConfirm : Next::kObserve;
}

void HostDeployment::on_lost(TimePoint now, const Error& error) {
  lost_ = error.message;
  if (now >= give_up_)
    return end(Outcome::kUnknown, stage_,
               "out of reach since it was in phase " + std::string(to_string(phase_)) + ": " + error.message +
                   "; the host decides by itself by its deadline, flurry status will tell");
  next_ = Next::kWait;
  wake_ = now + kRetry;
}

ActivationSpec HostDeployment::spec() const {
  ActivationSpec spec{.deployment = options_.deployment, .nonce = ticket_.nonce};
  spec.who = options_.who;
  spec.revision = options_.revision;
  for (const auto& built : system_->profiles) spec.profiles.push_back({built.profile, built.out});
  spec.expected_running = facts_->state.running;
  spec.goal = options_.goal;
  spec.magic_rollback = options_.magic_rollback && host_.magic_rollback;
  spec.auto_rollback = host_.auto_rollback;
  spec.allow_no_rollback = options_.allow_no_rollback;
  spec.activation_timeout = host_.activation_timeout;
  spec.confirm_timeout = options_.confirm_timeout.value_or(host_.confirm_timeout);
  spec.health = host_.health;
  return spec;
}

void HostDeployment::skip(const std::string& reason) {
  if (!is_ended() && !begun_) end(Outcome::kSkipped, stage_, reason);
}

void HostDeployment::detach() {
  if (is_ended()) return;
  if (!begun_) return skip("stopped by the user");
  end(Outcome::kUnknown, stage_,
      "detached by the user in phase " + std::string(to_string(phase_)) +
          "; without a confirmation the host goes back by itself, flurry status will tell");
}

void HostDeployment::fail(Stage stage, const std::string& reason) {
  end(Outcome::kFailedUnchanged, stage, reason);
}

void HostDeployment::end(Outcome outcome, Stage stage, std::string reason, std::string output) {
  HostResult result{outcome, stage, std::move(reason), std::move(output), {}, {}};
  if (system_) {
    const ProfileDerivation& told = system_->main();
    result.to_path = told.out.str();
    const auto from =
        told.profile.is_system() || !facts_ ? std::nullopt : profile_state(facts_->state, told.profile).path;
    if (from) result.from_path = from->str();
  }
  const bool is_about_system = !system_ || system_->system() != nullptr;
  if (is_about_system && facts_ && facts_->state.running) result.from_path = facts_->state.running->str();
  if (outcome == Outcome::kSucceeded)
    result.proof = proof_of(host_.health, options_.magic_rollback && host_.magic_rollback);
  result_ = std::move(result);
  stage_ = Stage::kEnded;
}

}  // namespace flurry
