#include "tests/sim/process.h"

#include <algorithm>

namespace flurry::sim {
namespace {

constexpr Millis kFollowInterval{500};
constexpr Millis kRetryFirst{5'000};
constexpr Millis kRetryMax{5 * 60'000};

}  // namespace

Process::Process(Machine& machine, Shared& shared, uint64_t pid, bool follows)
    : host_(machine), shared_(shared), pid_(pid), follows_(follows), look_again_(machine.timeline.now()) {}

// To the loop of a process that may be frozen, or gone.
void Process::post(std::function<void()> what) {
  if (!is_alive_) return;
  if (is_frozen_)
    inbox_.push_back(std::move(what));
  else
    what();
}

void Process::thaw() {
  if (!is_frozen_) return;
  is_frozen_ = false;
  for (auto& what : std::exchange(inbox_, {})) post(std::move(what));
}

void Process::kill(bool with_power) {
  if (!is_alive_) return;
  host_.timeline.tell(host_.name, "process " + std::to_string(pid_) + " dies");
  is_alive_ = false;
  if (shared_.lock == this) shared_.lock = nullptr;
  // What it had already asked systemd or nix-env to do.
  for (auto& worker : workers_)
    if (!with_power && !worker.is_placed && host_.dice.chance(0.5)) place(worker);
  if (!with_power)
    for (auto& observer : observers_) observer.reply(Error{ErrorKind::kUnreachable, "the agent is gone"});
  observers_.clear();
}

void Process::terminate() {
  post([this] {
    stopping_ = true;
    turn();
  });
}

bool Process::is_idle() const {
  return !active_ && !followed_ && !untold_ && inputs_.empty() && observers_.empty();
}

void Process::turn() {
  if (!is_alive_ || is_leaving_) return;
  if (!stopping_ && look_again_ && host_.timeline.now() >= *look_again_) follow();
  if (!stopping_) advance();
  if (!is_alive_) return;
  if (stopping_) return leave();
  answer_observers();
  if (!follows_ && is_idle()) return leave();
  plan_wake();
}

void Process::plan_wake() {
  std::optional<TimePoint> next = look_again_;
  const auto at = [&next](std::optional<TimePoint> time) {
    if (time && (!next || *time < *next)) next = time;
  };
  if (active_) at(active_->machine.next_wakeup());
  for (const auto& observer : observers_) at(observer.until);
  if (!next) return;
  next = std::max(*next, host_.timeline.now() + Millis(1));
  if (planned_wake_ && *planned_wake_ <= *next && *planned_wake_ > host_.timeline.now()) return;
  planned_wake_ = next;
  host_.timeline.at(*next, [this] { post([this] { turn(); }); });
}

void Process::advance() {
  if (!active_) return;
  for (;;) {
    const auto effects = active_->machine.step(host_.timeline.now(), std::exchange(inputs_, {}));
    for (const auto& effect : effects)
      if (!start(effect)) return;
    if (inputs_.empty()) break;
  }
  if (active_->machine.is_finished()) finish();
}

// False when the process did not live to see it.
bool Process::start(const Effect& effect) {
  if (point()) return false;
  if (const auto* write = std::get_if<effect::WriteJournal>(&effect.what))
    return write_journal(*write, effect.id);
  perform(effect);
  return is_alive_;
}

bool Process::write_journal(const effect::WriteJournal& write, EffectId id) {
  const Written written = host_.disk.write(write.record, host_.timeline.now(), host_.dice);
  const ActivationRecord& record = write.record;
  host_.timeline.tell(host_.name, "process " + std::to_string(pid_) + " writes " +
                                      std::string(to_string(record.phase)) +
                                      (record.outcome ? " " + std::string(to_string(*record.outcome)) : "") +
                                      " (" + record.spec.deployment.str().substr(22) + ") " + record.reason +
                                      (written == Written::kDone ? "" : ", refused"));
  if (written != Written::kRefused) shared_.on_durable(record);
  if (point()) return false;
  if (written == Written::kDone) {
    active_->durable = record;
    active_->is_journalled = true;
    ++revision_;
    inputs_.emplace_back(EffectEnded{id, EffectValue{}});
  } else {
    inputs_.emplace_back(EffectEnded{id, Error{ErrorKind::kFailed, "no space left on device"}});
  }
  return true;
}

void Process::finish() {
  ActivationRecord record = active_->machine.record();
  const bool is_in_journal = active_->durable.phase == Phase::kEnded;
  const bool is_told = is_in_journal || !active_->is_journalled;
  record.phase = Phase::kEnded;
  untold_.reset();
  if (is_told) {
    retry_ = kRetryFirst;
  } else if (const JournalFile* entry = host_.disk.find(record.spec.deployment)) {
    untold_ = Untold{record, entry->sequence};
  }
  std::erase_if(recent_, [&](const auto& r) { return r.spec.deployment == record.spec.deployment; });
  recent_.push_front(record);
  active_.reset();
  if (shared_.lock == this) shared_.lock = nullptr;
  ++revision_;
  host_.timeline.tell(host_.name, "process " + std::to_string(pid_) + " has finished: " +
                                      std::string(to_string(*record.outcome)) + (is_told ? "" : ", untold"));
  shared_.on_outcome(record, is_in_journal);
  if (is_told)
    look_again_ = host_.timeline.now();
  else
    retry_later();
}

void Process::retry_later() {
  look_again_ = host_.timeline.now() + retry_;
  retry_ = std::min(2 * retry_, kRetryMax);
}

void Process::follow() {
  look_again_.reset();
  if (active_) return;
  const JournalFile* entry = host_.disk.latest_unfinished();
  followed_ = entry ? std::optional(entry->record.spec.deployment) : std::nullopt;
  if (!entry) return untold_.reset();
  if (shared_.lock) {
    look_again_ = host_.timeline.now() + kFollowInterval;
    stopping_ |= !follows_;
    return;
  }
  followed_.reset();
  go_on_with(*entry);
}

void Process::go_on_with(const JournalFile& entry) {
  ActivationRecord record = entry.record;
  const bool is_untold = untold_ && untold_->record.spec.deployment == record.spec.deployment &&
                         untold_->sequence == entry.sequence;
  if (is_untold) {
    record = untold_->record;
    const Written written = host_.disk.write(record, host_.timeline.now(), host_.dice);
    if (written != Written::kRefused) shared_.on_durable(record);
    if (written != Written::kDone) return retry_later();
  }
  untold_.reset();
  shared_.lock = this;
  host_.timeline.tell(
      host_.name, "process " + std::to_string(pid_) + " takes up " + std::string(to_string(record.phase)));
  active_.emplace(
      Active{Activation::recover(record, host_.state(nullptr).boot_id), record, true, ++activations_});
  ++revision_;
}

void Process::leave() {
  is_leaving_ = true;
  for (auto& observer : observers_) observer.reply(Error{ErrorKind::kUnreachable, "the agent is stopping"});
  observers_.clear();
  const bool is_in_order =
      active_ && active_->is_journalled && active_->durable.phase == active_->machine.record().phase;
  if (is_in_order && active_->durable.phase != Phase::kEnded) {
    ActivationRecord record = active_->durable;
    record.holder_stopped = true;
    if (host_.disk.write(record, host_.timeline.now(), host_.dice) != Written::kRefused)
      shared_.on_durable(record);
  }
  // A wait for a switch is given up, all else is waited for.
  for (auto& worker : workers_)
    if (worker.is_placed && std::holds_alternative<effect::RunSwitch>(worker.what)) worker.is_over = true;
  leave_when_done();
}

void Process::leave_when_done() {
  workers_.remove_if([](const Worker& worker) { return worker.is_over; });
  if (!workers_.empty() || !is_alive_) return;
  is_alive_ = false;
  if (shared_.lock == this) shared_.lock = nullptr;
  host_.timeline.tell(host_.name, "process " + std::to_string(pid_) + " has left");
  if (on_left) on_left();
}

}  // namespace flurry::sim
