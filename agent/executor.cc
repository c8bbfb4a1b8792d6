#include "agent/executor.h"

#include <algorithm>
#include <system_error>

#include "agent/file_io.h"
#include "agent/log.h"
#include "core/sys/clock.h"

namespace flurry::agent {
namespace {

constexpr size_t kQueueMax = 256;
constexpr size_t kRecentMax = 16;
constexpr Millis kFollowInterval{500};
constexpr Millis kRetryMax{5 * 60'000};

std::string where(const ActivationRecord& record) {
  std::string text =
      "deployment " + record.spec.deployment.str() + ": " + std::string(to_string(record.phase));
  if (record.outcome) text += ", " + std::string(to_string(*record.outcome));
  return text + (record.reason.empty() ? "" : ": " + record.reason);
}

}  // namespace

Executor::Executor(System& system, Journal& journal, const Paths& paths, ExecutorOptions options)
    : system_(system),
      journal_(journal),
      paths_(paths),
      options_(std::move(options)),
      queue_(kQueueMax),
      retry_(options_.retry),
      last_call_(sys::now()) {}

void Executor::run() {
  look_again_ = sys::now();
  while (!stopping_) {
    if (look_again_ && sys::now() >= *look_again_) follow();
    advance(std::exchange(inputs_, {}));
    answer_observers();
    for (auto& event : queue_.pop_all(next_wakeup()))
      std::visit([this](auto& what) { take(std::move(what)); }, event);
    if (is_idle() && options_.idle_exit && sys::now() - last_call_ >= *options_.idle_exit) break;
  }
  leave();
}

bool Executor::is_idle() const {
  return !active_ && !followed_ && !untold_ && inputs_.empty() && damaged_.empty() && observers_.empty() &&
         connections_ == 0;
}

void Executor::stop() { queue_.push(Stop{}); }

void Executor::take(Stop) { stopping_ = true; }

void Executor::connections(size_t count) { queue_.push(Connections{count}); }

void Executor::take(Connections now) {
  last_call_ = sys::now();
  connections_ = now.count;
}

void Executor::take(WorkerEnded ended) {
  workers_.remove_if([&](const Worker& worker) {
    return worker.activation == ended.activation && worker.id == ended.what.id;
  });
  if (active_ && active_->number == ended.activation) inputs_.emplace_back(std::move(ended.what));
}

std::optional<TimePoint> Executor::next_wakeup() const {
  std::optional<TimePoint> next;
  const auto at = [&next](std::optional<TimePoint> time) {
    if (time && (!next || *time < *next)) next = time;
  };
  at(look_again_);
  if (active_) at(active_->machine.next_wakeup());
  for (const auto& observer : observers_) at(observer.until);
  if (options_.idle_exit && !active_ && !followed_) at(last_call_ + *options_.idle_exit);
  // A moment ahead at least: a step that asks to be woken in the past has nothing to do there.
  if (next) next = std::max(*next, sys::now() + Millis(1));
  return next;
}

// Steps the machine until it waits for something. Journal writes end within the step, so that nothing
// is started, shown or answered before the write it rests on is durable.
void Executor::advance(std::vector<ActivationInput> inputs) {
  if (!active_) return;
  for (;;) {
    auto effects = active_->machine.step(sys::now(), std::move(inputs));
    inputs.clear();
    for (auto& effect : effects)
      if (auto ended = start(std::move(effect))) inputs.emplace_back(std::move(*ended));
    if (inputs.empty()) break;
  }
  if (auto health = active_->machine.health_report(); health != active_->health) {
    active_->health = std::move(health);
    bump();
  }
  if (active_->machine.is_finished()) finish();
}

std::optional<EffectEnded> Executor::start(Effect effect) {
  if (auto* write = std::get_if<effect::WriteJournal>(&effect.what)) {
    if (write->record.phase == Phase::kEnded) write->record.ended_unix_ms = sys::unix_ms();
    const auto written = journal_.write(write->record);
    if (!written) {
      log_warning(where(write->record) + ": " + written.error().message);
      return EffectEnded{effect.id, written.error()};
    }
    active_->durable = std::move(write->record);
    active_->is_journalled = true;
    bump();
    log_info(where(active_->durable));
    return EffectEnded{effect.id, EffectValue{}};
  }
  const auto work = [this, effect, number = active_->number,
                     record = active_->machine.record()](std::stop_token stop) {
    queue_.push(WorkerEnded{number, {effect.id, system_.perform(effect.what, record, stop)}});
  };
  try {
    workers_.push_back({active_->number, effect.id, std::jthread(work)});
  } catch (const std::system_error& error) {
    return EffectEnded{effect.id, sys::errno_error("start a thread", error.code().value())};
  }
  return std::nullopt;
}

void Executor::finish() {
  ActivationRecord record = active_->machine.record();
  const bool is_in_journal = active_->durable.phase == Phase::kEnded;
  const bool is_told = is_in_journal || !active_->is_journalled;
  if (record.ended_unix_ms == 0)
    record.ended_unix_ms = is_in_journal ? active_->durable.ended_unix_ms : sys::unix_ms();
  log_info(where(record) + " (finished)");
  record.phase = Phase::kEnded;
  untold_.reset();
  if (is_told) {
    retry_ = options_.retry;
  } else if (const auto entry = journal_.find(record.spec.deployment); entry && *entry) {
    untold_ = Untold{record, (*entry)->sequence};
  }
  std::erase_if(recent_, [&](const auto& r) { return r.spec.deployment == record.spec.deployment; });
  recent_.push_front(std::move(record));
  if (recent_.size() > kRecentMax) recent_.pop_back();
  for (auto& worker : workers_) worker.thread.request_stop();
  active_.reset();
  bump();
  // The outcome is told, but the journal's last word was refused: tell the story again until it stands.
  if (is_told)
    look_again_ = sys::now();
  else
    retry_later();
}

// Not in a tight loop: what is to be done again may be a whole activation.
void Executor::retry_later() {
  look_again_ = sys::now() + retry_;
  retry_ = std::min(2 * retry_, kRetryMax);
}

// Looks for a deployment that nobody has finished, and goes on with it unless another process does.
void Executor::follow() {
  look_again_.reset();
  if (active_) return;
  settle_damaged();
  auto entry = journal_.latest_unfinished();
  if (!entry) {
    log_warning(entry.error().message);
    return retry_later();
  }
  const auto sequence = [](const std::optional<JournalEntry>& e) { return e ? e->sequence : 0; };
  if (sequence(*entry) != sequence(followed_)) bump();
  followed_ = *std::move(entry);
  if (!followed_) {
    untold_.reset();
    if (damaged_.empty()) retry_ = options_.retry;
    return;
  }
  // After a reboot there is none; where it can't be made, the lock's error says so.
  [[maybe_unused]] const auto made = make_private_dir(paths_.run());
  auto lock = FileLock::try_take(paths_.executor_lock());
  if (!lock || !*lock) {
    if (!lock) log_warning(lock.error().message);
    look_again_ = sys::now() + kFollowInterval;
    stopping_ |= lock && !options_.follows;
    return;
  }
  // Its driver may have gone on between the look and the lock.
  auto fresh = journal_.find(followed_->record.spec.deployment);
  if (!fresh) return retry_later();
  if (!*fresh || (*fresh)->record.phase == Phase::kEnded) {
    look_again_ = sys::now();
    return;
  }
  followed_.reset();
  go_on_with(**std::move(fresh), **std::move(lock));
}

void Executor::go_on_with(JournalEntry entry, FileLock lock) {
  ActivationRecord record = std::move(entry.record);
  const bool is_untold = untold_ && untold_->record.spec.deployment == record.spec.deployment &&
                         untold_->sequence == entry.sequence;
  // What is done and verified is not done again: only its story is missing.
  if (is_untold) {
    record = untold_->record;
    if (const auto told = journal_.write(record); !told) {
      log_warning(where(record) + ": " + told.error().message);
      return retry_later();
    }
  }
  untold_.reset();
  log_info(where(record) + (is_untold ? " (now in the journal)" : " (taken up again)"));
  active_.emplace(
      Active{Activation::recover(record, options_.boot_id), record, std::move(lock), ++activations_, true});
  bump();
}

// A journal that nobody can read holds the host only as long as something may be half done: a running
// system that is the boot default too has been confirmed, whatever the journal said.
void Executor::settle_damaged() {
  auto found = journal_.damaged();
  if (!found || !options_.follows) return;  // an error is said by who reads next
  damaged_ = *std::move(found);
  if (damaged_.empty()) return;
  [[maybe_unused]] const auto made = make_private_dir(paths_.run());
  const auto lock = FileLock::try_take(paths_.executor_lock());
  if (!lock || !*lock) return retry_later();
  // Waits for systemd's list of units: rare enough for the one loop.
  const auto facts = system_.inspect({}, false);
  if (!facts || !facts->state.running || facts->state.running != facts->state.profile) {
    for (const auto& note : notes()) log_warning(note);
    return retry_later();
  }
  for (const auto& id : damaged_) {
    const auto set_aside = journal_.set_aside(id);
    log_warning(set_aside ? "the journal of deployment " + id.str() + " is damaged: set aside"
                          : set_aside.error().message);
    if (!set_aside) return retry_later();
  }
  damaged_.clear();
}

std::vector<std::string> Executor::notes() const {
  std::vector<std::string> out;
  for (const auto& id : damaged_)
    out.push_back("the journal of deployment " + id.str() +
                  " is damaged, so how it ended is lost, and the running system is not the boot default: "
                  "reboot the host, or activate the default; until then no deployment can begin");
  const auto lost = journal_.lost();
  for (const auto& id : lost ? *lost : std::vector<DeploymentId>())
    out.push_back("the journal of deployment " + id.str() +
                  " was damaged, so how it ended is lost; look at " + paths_.journals() + "/" + id.str() +
                  ".damaged and remove it");
  return out;
}

void Executor::leave() {
  queue_.close();
  for (auto& observer : observers_)
    observer.reply.set_value(Error{ErrorKind::kCancelled, "the agent is stopping"});
  observers_.clear();
  // Requests that the loop did not come to.
  for (auto& event : queue_.pop_all(sys::now()))
    std::visit(
        [](auto& what) {
          if constexpr (requires { what.reply; })
            what.reply.set_value(Error{ErrorKind::kCancelled, "the agent is stopping"});
        },
        event);
  // Where the journal refused the last phase, it must not be said to go on from the one before it.
  const bool is_in_order =
      active_ && active_->is_journalled && active_->durable.phase == active_->machine.record().phase;
  if (is_in_order && active_->durable.phase != Phase::kEnded) {
    ActivationRecord record = active_->durable;
    record.holder_stopped = true;
    const auto written = journal_.write(record);
    if (!written) log_warning(where(record) + ": " + written.error().message);
  }
  // The lock stays until the workers are gone: nobody else may start what they still do.
  for (auto& worker : workers_) worker.thread.request_stop();
  workers_.clear();
  active_.reset();
}

}  // namespace flurry::agent
