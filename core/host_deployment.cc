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
// Newer sshds shut out an address for 15 s and more after three refused logins within as many seconds.
constexpr Millis kRefusedRetry{5000};
constexpr Millis kRefusedRetryMax{20'000};
// An agent answers a question when something is new, or after two seconds; one that does otherwise is not
// asked more often than this.
constexpr Millis kSameAnswer{1000};
// A deployment has some twenty things to tell.
constexpr int kAnswersMax = 200;
// What an agent's single steps may take beside its deadlines: at most five minutes, of which few come
// together.
constexpr Millis kAgentSlack{600'000};
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
    next_ = after_wait_;
  }
  if (next_ == Next::kProceed && wants_to_proceed()) {
    stage_ = Stage::kWaiting;
    if (!may_proceed) return {};
    proceeded_ = true;
    next_ = ticket_.fixed.empty() ? Next::kBuild : Next::kBegin;
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
      limit_ = now + agent_time();
      return {action::Begin{spec()}};
    case Next::kObserve:
      asked_at_ = now;
      return {action::Observe{seen_}};
    case Next::kReattach:
      return {action::Reattach{}};
    case Next::kConfirm:
      has_called_ = true;
      return {action::Confirm{ticket_.nonce}};
    case Next::kProceed:
    case Next::kWait:
    case Next::kIdle:
      return {};
  }
  return {};
}

std::vector<action::Any> HostDeployment::prepare() {
  if (host_.error) {
    fail(Stage::kEvaluate, host_.error->message, host_.error->kind);
    return {};
  }
  next_ = Next::kProceed;
  std::vector<action::Any> out;
  if (needs_host()) out.push_back(action::Connect{});
  if (ticket_.fixed.empty()) {
    out.push_back(action::Evaluate{});
    return out;
  }
  system_.emplace();
  for (const auto& fixed : ticket_.fixed)
    system_->profiles.push_back({fixed.profile, fixed.path, fixed.path});
  return out;
}

void HostDeployment::on_ended(TimePoint now, const action::Any& what, const Result<ActionValue>& result) {
  if (is_ended()) return;
  if (std::holds_alternative<action::Connect>(what)) return on_connected(result);
  if (std::holds_alternative<action::Evaluate>(what)) return on_evaluated(result);
  if (std::holds_alternative<action::Begin>(what)) return on_begun(now, result);
  if (std::holds_alternative<action::Build>(what)) {
    if (!result) return fail(Stage::kBuild, result.error().message, result.error().kind);
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
  if (view) return on_view(now, what, *view);
  on_lost(now, what, result ? Error{ErrorKind::kFailed, "no answer"} : result.error());
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
  if (const std::string unknown = unknown_user(); !unknown.empty()) return fail(Stage::kPreflight, unknown);
  if (stage_ == Stage::kPreflight && !system_) stage_ = Stage::kEvaluate;
  settle_unchanged();
}

// Empty: the host has the user of every profile that it is to get.
std::string HostDeployment::unknown_user() const {
  if (!activates(options_.goal)) return "";
  std::vector<ProfileRef> wanted;
  for (const auto& fixed : ticket_.fixed) wanted.push_back(fixed.profile);
  if (wanted.empty()) wanted = ordered_profiles(host_);
  const auto& unknown = facts_->unknown_users;
  for (const auto& profile : wanted)
    if (std::find(unknown.begin(), unknown.end(), profile.user) != unknown.end())
      return "profile " + profile.name + ": there is no user " + profile.user +
             " on this host; create the user, or name another in the profile's `user`";
  return "";
}

// Said before anything is built for the host. What its agent alone can know, it refuses later.
bool HostDeployment::needs_a_way_back() const {
  const bool switches = options_.goal == Goal::kSwitch || options_.goal == Goal::kTest;
  const bool has_system =
      ticket_.fixed.empty()
          ? host_.profiles.count(std::string(kSystemProfile)) > 0
          : std::any_of(ticket_.fixed.begin(), ticket_.fixed.end(),
                        [](const FixedProfile& fixed) { return fixed.profile.is_system(); });
  return switches && has_system && !options_.allow_no_rollback;
}

void HostDeployment::on_evaluated(const Result<ActionValue>& result) {
  if (!result) return fail(Stage::kEvaluate, result.error().message, result.error().kind);
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
  const SystemState& state = facts_->state;
  const auto is_it = [&](const std::optional<StorePath>& path) {
    return path == built.out || (facts_->wrapped && path == facts_->wrapped);
  };
  // What runs says little where a switch was broken off.
  const bool runs = !built.profile.is_system() || (is_it(state.running) && facts_->half_switched.empty() &&
                                                   (!state.boot_default || is_it(state.boot_default)));
  const ProfileState held = profile_state(state, built.profile);
  return runs && held.path == built.out && held.is_activated;
}

std::vector<StorePath> HostDeployment::paths() const {
  std::vector<StorePath> out;
  for (const auto& profile : system_->profiles) out.push_back(profile.out);
  return out;
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
  on_lost(now, action::Begin{spec()}, result.error());  // it may have arrived
}

// The most that an agent needs to come to an end, going back included.
Millis HostDeployment::agent_time() const {
  const Millis forward = activation_time() + host_.health.deadline + spec().confirm_timeout;
  return forward + 4 * activation_time() + kAgentSlack;
}

void HostDeployment::on_view(TimePoint now, const action::Any& what, const AgentView& view) {
  refusals_ = 0;
  if (!view.known) {
    if (phase_ == Phase::kPrepared && seen_ == 0)
      return fail(Stage::kActivate,
                  "the deployment never began: the connection was lost, and the agent has no record of it");
    return end(Outcome::kUnknown, stage_,
               "the agent has no record of the deployment any more; look at the host");
  }
  const bool is_news = view.revision != seen_ || view.phase != phase_;
  seen_ = view.revision;
  if (view.phase == Phase::kRollingBack && !std::exchange(went_back_, true))
    give_up_ = std::max(give_up_, now + 2 * activation_time() + kReturnMargin);
  phase_ = view.phase;
  if (view.outcome) return on_outcome(view);
  dial_error_.reset();
  stage_ = stage_of(view.phase);
  if (stage_ != Stage::kRollBack && stage_ != Stage::kEnded) forward_stage_ = stage_;
  if (is_overdue(now))
    return end(Outcome::kUnknown, stage_,
               "its agent still answers that the host is in phase " + std::string(to_string(phase_)) +
                   ", long after that should have ended; look at the host, flurry status tells what it says");
  look_again(now, what, is_news);
}

void HostDeployment::on_outcome(const AgentView& view) {
  const bool good = *view.outcome == Outcome::kSucceeded || *view.outcome == Outcome::kStaged ||
                    *view.outcome == Outcome::kUnchanged;
  // The host knows best where it turned back: we may have been cut off long before.
  const Stage failed = view.back_from ? stage_of(*view.back_from) : forward_stage_;
  end(*view.outcome, good ? Stage::kEnded : failed, view.reason + told_of_confirmation(view), view.output);
}

// Once after the limit there is a moment more: a machine that slept may just be going back.
bool HostDeployment::is_overdue(TimePoint now) {
  if (now < limit_) return false;
  if (!std::exchange(has_grace_, false)) return true;
  limit_ = now + 2 * activation_time() + kReturnMargin;
  return false;
}

// Asks or confirms at once, unless the agent answers as none does that works.
void HostDeployment::look_again(TimePoint now, const action::Any& what, bool is_news) {
  if (phase_ == Phase::kAwaitingConfirmation) {
    const bool was_confirmed = std::holds_alternative<action::Confirm>(what);
    if (was_confirmed) return wait(Next::kConfirm, now + kRefusedRetry);
    next_ = Next::kConfirm;
    return;
  }
  answers_ += is_news ? 1 : 0;
  const bool is_hasty = std::holds_alternative<action::Observe>(what) && (!is_news || answers_ > kAnswersMax);
  const TimePoint earliest = asked_at_ + kSameAnswer;
  if (is_hasty && now < earliest) return wait(Next::kObserve, earliest);
  next_ = Next::kObserve;
}

void HostDeployment::wait(Next then, TimePoint until) {
  next_ = Next::kWait;
  after_wait_ = then;
  wake_ = until;
}

void HostDeployment::on_lost(TimePoint now, const action::Any& what, const Error& error) {
  if (std::holds_alternative<action::Confirm>(what) || std::holds_alternative<action::Reattach>(what))
    dial_error_ = error;
  if (now >= std::min(give_up_, limit_))
    return end(Outcome::kUnknown, stage_,
               "out of reach since it was in phase " + std::string(to_string(phase_)) + ": " + error.message +
                   "; " + what_the_host_does() + ", flurry status will tell");
  // A server that has said no keeps count of those who come back.
  if (error.kind == ErrorKind::kRefused || refusals_ > 0) ++refusals_;
  const Millis pause = refusals_ == 0 ? kRetry
                                      : std::min(kRefusedRetryMax,
                                                 Millis(kRefusedRetry * (1LL << std::min(refusals_ - 1, 4))));
  // A confirmation that comes too late is answered with what happened: nothing is lost by asking.
  wait(phase_ == Phase::kAwaitingConfirmation ? Next::kConfirm : Next::kReattach, now + pause);
}

ActivationSpec HostDeployment::spec() const {
  ActivationSpec spec{.deployment = options_.deployment, .nonce = ticket_.nonce};
  spec.who = options_.who;
  spec.revision = options_.revision;
  for (const auto& built : system_->profiles) spec.profiles.push_back({built.profile, built.out});
  for (size_t i = 0; i < ticket_.fixed.size(); ++i) spec.profiles[i].taken_from = ticket_.fixed[i].generation;
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
      "detached by the user in phase " + std::string(to_string(phase_)) + "; " + what_the_host_does() +
          ", flurry status will tell");
}

void HostDeployment::fail(Stage stage, const std::string& reason, std::optional<ErrorKind> cause) {
  end(Outcome::kFailedUnchanged, stage, reason);
  result_->cause = cause;
}

void HostDeployment::end(Outcome outcome, Stage stage, std::string reason, std::string output) {
  HostResult result{outcome, stage, std::move(reason), std::move(output), {}, {}, {}, {}};
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
