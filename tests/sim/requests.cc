#include <algorithm>

#include "tests/sim/process.h"

// What controllers ask of an agent: agent/executor_requests.cc.

namespace flurry::sim {
namespace {

constexpr Millis kObserveWait{5'000};

Error refused(const std::string& message) { return {ErrorKind::kRefused, message}; }

}  // namespace

void Process::begin(const ActivationSpec& spec, std::function<void(Result<void>)> reply) {
  post([this, spec, reply] {
    if (is_leaving_) return reply(Error{ErrorKind::kUnreachable, "the agent is stopping"});
    const auto admitted = admit(spec);
    if (!admitted) given_up_.insert(spec.deployment);
    reply(admitted);
    turn();
  });
}

Result<void> Process::admit(const ActivationSpec& spec) {
  for (const auto& profile : spec.profiles)
    if (!host_.disk.has(profile.new_path)) return refused(profile.new_path.str() + " is not on this host");
  const auto repeated = [&](const ActivationRecord& record) -> Result<void> {
    if (record.spec.nonce == spec.nonce) return {};
    return Error{ErrorKind::kInvalidInput, "begun by somebody else"};
  };
  if (active_ && active_->machine.record().spec.deployment != spec.deployment)
    return refused("another deployment holds this host");
  if (active_) return repeated(active_->durable);
  for (const auto& record : recent_)
    if (record.spec.deployment == spec.deployment) return repeated(record);
  if (const auto* known = host_.disk.find(spec.deployment)) return repeated(known->record);
  if (given_up_.contains(spec.deployment)) return refused("given up by its controller");
  if (host_.disk.latest_unfinished()) {
    if (!look_again_) look_again_ = host_.timeline.now();
    return refused("another deployment holds this host");
  }
  if (shared_.lock) return refused("another process is finishing a deployment on this host");
  shared_.lock = this;
  ActivationSpec admitted = spec;
  for (auto& profile : admitted.profiles)
    if (profile.is_system()) profile.etc = host_.etc_of(profile.new_path);
  Activation machine = Activation::begin(std::move(admitted), 0);
  ActivationRecord record = machine.record();
  active_.emplace(Active{std::move(machine), std::move(record), false, ++activations_});
  followed_.reset();
  ++revision_;
  host_.timeline.tell(host_.name, "begins " + spec.deployment.str().substr(22));
  return {};
}

void Process::observe(const DeploymentId& id, uint64_t seen, OnAnswer reply) {
  post([this, id, seen, reply] {
    if (is_leaving_) return reply(Error{ErrorKind::kUnreachable, "the agent is stopping"});
    observers_.push_back({id, seen, host_.timeline.now() + kObserveWait, reply});
    turn();
  });
}

void Process::confirm(const DeploymentId& id, const std::string& nonce, OnAnswer reply) {
  post([this, id, nonce, reply] {
    if (is_leaving_) return reply(Error{ErrorKind::kUnreachable, "the agent is stopping"});
    const bool is_active = active_ && active_->durable.spec.deployment == id;
    if (is_active && active_->durable.spec.nonce != nonce)
      return reply(refused("not this deployment's nonce"));
    if (is_active) {
      inputs_.emplace_back(ConfirmReceived{nonce});
      advance();
    }
    if (!is_alive_) return reply(Error{ErrorKind::kUnreachable, "the agent is gone"});
    reply(look_up(id));
    turn();
  });
}

void Process::roll_back(const DeploymentId& id, const std::string& nonce) {
  post([this, id, nonce] {
    if (is_leaving_ || !active_ || active_->durable.spec.deployment != id) return;
    inputs_.emplace_back(RollbackRequested{nonce, "somebody wants it undone"});
    turn();
  });
}

void Process::held_by(std::function<void(std::optional<std::string>)> reply) {
  post(
      [this, reply] { reply(active_ || followed_ ? std::optional<std::string>("somebody") : std::nullopt); });
}

Process::Answer Process::look_up(const DeploymentId& id) const {
  if (active_ && active_->durable.spec.deployment == id)
    return {true, active_->is_journalled ? revision_ : 0, active_->durable};
  for (const auto& record : recent_)
    if (record.spec.deployment == id) return {true, revision_, record};
  if (const auto* entry = host_.disk.find(id)) return {true, revision_, entry->record};
  return {};
}

void Process::answer_observers() {
  const TimePoint now = host_.timeline.now();
  std::list<std::pair<OnAnswer, Answer>> answers;
  observers_.remove_if([&](const Observer& observer) {
    const bool is_unwritten =
        active_ && active_->durable.spec.deployment == observer.id && !active_->is_journalled;
    const bool is_news = observer.seen != revision_ && !is_unwritten;
    if (!is_news && now < observer.until) return false;
    Answer found = look_up(observer.id);
    if (!found.known) given_up_.insert(observer.id);
    answers.emplace_back(observer.reply, std::move(found));
    return true;
  });
  for (auto& [reply, answer] : answers) reply(std::move(answer));
}

}  // namespace flurry::sim
