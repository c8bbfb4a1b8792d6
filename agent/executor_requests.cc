#include <algorithm>
#include <chrono>

#include "agent/executor.h"
#include "agent/file_io.h"
#include "core/sys/clock.h"

namespace flurry::agent {
namespace {

// The loop itself never waits, but for a disk.
constexpr Millis kReplyTimeout{20'000};
constexpr Millis kObserveWaitMax{5'000};
constexpr size_t kGivenUpMax = 1000;
// Each keeps one of the server's threads; whoever waits longest is answered when more come.
constexpr size_t kObserversMax = 16;

Error refused(std::string message) { return {ErrorKind::kRefused, std::move(message)}; }

std::string described(const ActivationRecord& record) {
  const long long seconds = std::max(0LL, (sys::unix_ms() - record.started_unix_ms) / 1000);
  return "deployment " + record.spec.deployment.str() + " of " +
         (record.spec.who.empty() ? "somebody" : record.spec.who) + " holds this host since " +
         std::to_string(seconds) + " s (" + std::string(to_string(record.phase)) + ")";
}

}  // namespace

template <typename Request>
auto Executor::ask(Request request, Millis timeout) -> decltype(request.reply.get_future().get()) {
  auto future = request.reply.get_future();
  if (!queue_.push(std::move(request))) return Error{ErrorKind::kCancelled, "the agent is stopping"};
  const auto until = std::chrono::steady_clock::now() + timeout;
  if (future.wait_until(until) != std::future_status::ready)
    return Error{ErrorKind::kTimedOut, "the agent is too busy to answer"};
  return future.get();
}

Result<void> Executor::begin(ActivationSpec spec) {
  ASSIGN_OR_RETURN(spec, system_.admit(std::move(spec)));
  return ask(Begin{std::move(spec), {}}, kReplyTimeout);
}

Result<std::optional<Observation>> Executor::observe(const DeploymentId& id, uint64_t seen, Millis wait) {
  wait = std::clamp(wait, Millis(0), kObserveWaitMax);
  return ask(Observe{id, seen, sys::now() + wait, {}}, wait + kReplyTimeout);
}

Result<std::optional<Observation>> Executor::confirm(const DeploymentId& id, const std::string& nonce) {
  return ask(Confirm{id, nonce, {}}, kReplyTimeout);
}

Result<void> Executor::roll_back(const DeploymentId& id, const std::string& nonce,
                                 const std::string& reason) {
  return ask(RollBack{id, nonce, reason, {}}, kReplyTimeout);
}

Result<Executor::Overview> Executor::overview() { return ask(GetOverview{}, kReplyTimeout); }

Result<std::vector<Observation>> Executor::history(size_t count) {
  return ask(GetHistory{count, {}}, kReplyTimeout);
}

void Executor::take(Begin request) {
  last_call_ = sys::now();
  const auto admitted = admit(request.spec);
  // Its controller gives it up: should the call come in once more, it finds nobody who would confirm.
  if (!admitted) remember_unknown(request.spec.deployment);
  request.reply.set_value(admitted);
}

// Starts it, or says why not. A repeated call of the same deployment is answered as the first was.
Result<void> Executor::admit(const ActivationSpec& spec) {
  if (active_ && active_->machine.record().spec.deployment != spec.deployment)
    return refused(described(active_->durable));
  if (active_) return refuse_repeated(active_->durable, spec);
  for (const auto& record : recent_)
    if (record.spec.deployment == spec.deployment) return refuse_repeated(record, spec);
  ASSIGN_OR_RETURN(const auto known, journal_.find(spec.deployment));
  if (known) return refuse_repeated(known->record, spec);
  // Delivered late, over a connection that its controller has long left for another one.
  if (std::find(given_up_.begin(), given_up_.end(), spec.deployment) != given_up_.end())
    return refused("deployment " + spec.deployment.str() +
                   " was given up by its controller, which was told that it never began");
  settle_damaged();
  if (!damaged_.empty()) return refused(notes().front());
  ASSIGN_OR_RETURN(const auto unfinished, journal_.latest_unfinished());
  if (unfinished) {
    if (!look_again_) look_again_ = sys::now();
    return refused(described(unfinished->record));
  }
  RETURN_IF_ERROR(make_private_dir(paths_.run()));
  ASSIGN_OR_RETURN(auto lock, FileLock::try_take(paths_.executor_lock()));
  if (!lock) return refused("another process is finishing a deployment on this host");
  Activation machine = Activation::begin(spec, sys::unix_ms());
  ActivationRecord record = machine.record();
  active_.emplace(Active{std::move(machine), std::move(record), *std::move(lock), ++activations_});
  followed_.reset();
  bump();
  return {};
}

Result<void> Executor::refuse_repeated(const ActivationRecord& record, const ActivationSpec& spec) const {
  const auto is_same = [](const ProfileSpec& a, const ProfileSpec& b) {
    return a.name == b.name && a.new_path == b.new_path;
  };
  if (record.spec.nonce == spec.nonce && std::equal(record.spec.profiles.begin(), record.spec.profiles.end(),
                                                    spec.profiles.begin(), spec.profiles.end(), is_same))
    return {};
  return Error{
      ErrorKind::kInvalidInput,
      "this machine is being deployed already under another name in this deployment: two hosts of the "
      "flake lead to it (deployment " +
          spec.deployment.str() + ")"};
}

void Executor::take(Observe request) {
  last_call_ = sys::now();
  observers_.push_back(std::move(request));  // answered at the end of this turn if there is news
  if (observers_.size() > kObserversMax) {
    const auto excess = static_cast<long>(observers_.size() - kObserversMax);
    std::for_each(observers_.begin(), std::next(observers_.begin(), excess),
                  [this](Observe& observer) { observer.until = last_call_; });
  }
}

void Executor::take(Confirm request) {
  last_call_ = sys::now();
  const bool is_active = active_ && active_->durable.spec.deployment == request.id;
  if (is_active && active_->durable.spec.nonce != request.nonce)
    return request.reply.set_value(refused("the confirmation's nonce is not this deployment's"));
  if (is_active) {
    // The journal is written within the step: afterwards the confirmation is durable, or came too late.
    inputs_.emplace_back(ConfirmReceived{request.nonce});
    advance(std::exchange(inputs_, {}));
  }
  request.reply.set_value(look_up(request.id));
}

void Executor::take(RollBack request) {
  last_call_ = sys::now();
  if (!active_ || active_->durable.spec.deployment != request.id)
    return request.reply.set_value(refused("deployment " + request.id.str() + " is not active on this host"));
  if (active_->durable.spec.nonce != request.nonce)
    return request.reply.set_value(refused("the nonce is not this deployment's"));
  inputs_.emplace_back(RollbackRequested{request.nonce, request.reason});
  request.reply.set_value({});
}

void Executor::take(GetOverview request) {
  last_call_ = sys::now();
  Overview out;
  if (active_)
    out.active = seen_from_outside(active_->durable);
  else if (followed_)
    out.active = seen_from_outside(followed_->record);
  if (!recent_.empty()) {
    out.last = seen_from_outside(recent_.front());
  } else if (auto records = journal_.recent(2)) {
    for (const auto& record : *records)
      if (record.outcome && !out.last) out.last = seen_from_outside(record);
  }
  out.notes = notes();
  request.reply.set_value(std::move(out));
}

void Executor::take(GetHistory request) {
  last_call_ = sys::now();
  auto records = journal_.recent(request.count);
  if (!records) return request.reply.set_value(records.error());
  std::vector<Observation> out;
  for (const auto& record : *records) out.push_back(seen_from_outside(record));
  request.reply.set_value(std::move(out));
}

Result<std::optional<Observation>> Executor::look_up(const DeploymentId& id) {
  if (active_ && active_->durable.spec.deployment == id)
    return std::optional(seen_from_outside(active_->durable));
  if (followed_ && followed_->record.spec.deployment == id)
    return std::optional(seen_from_outside(followed_->record));
  for (const auto& record : recent_)
    if (record.spec.deployment == id) return std::optional(seen_from_outside(record));
  ASSIGN_OR_RETURN(const auto entry, journal_.find(id));
  if (!entry) return std::optional<Observation>();
  return std::optional(seen_from_outside(entry->record));
}

Observation Executor::seen_from_outside(const ActivationRecord& record) const {
  const uint64_t revision = is_unwritten(record.spec.deployment) ? 0 : revision_;
  Observation out{.revision = revision, .record = record};
  if (record.phase != Phase::kEnded) out.remaining = std::max(Millis(0), record.deadline - sys::now());
  if (active_ && active_->durable.spec.deployment == record.spec.deployment) out.health = active_->health;
  return out;
}

bool Executor::is_unwritten(const DeploymentId& id) const {
  return active_ && active_->durable.spec.deployment == id && !active_->is_journalled;
}

void Executor::answer_observers() {
  const TimePoint now = sys::now();
  observers_.remove_if([&](Observe& observer) {
    const bool is_news = observer.seen != revision_ && !is_unwritten(observer.id);
    if (!is_news && now < observer.until) return false;
    auto found = look_up(observer.id);
    if (found && !*found) remember_unknown(observer.id);
    observer.reply.set_value(std::move(found));
    return true;
  });
}

void Executor::remember_unknown(const DeploymentId& id) {
  if (std::find(given_up_.begin(), given_up_.end(), id) != given_up_.end()) return;
  given_up_.push_front(id);
  if (given_up_.size() > kGivenUpMax) given_up_.pop_back();
}

}  // namespace flurry::agent
