#include "tests/sim/host.h"

namespace flurry::sim {
namespace {

constexpr Millis kAgentRestart{200};
constexpr double kEffectFails = 0.01;
constexpr double kBootLoaderFails = 0.02;

StorePath path_of(char c) { return *StorePath::parse("/nix/store/" + std::string(32, c) + "-system"); }

}  // namespace

Host::Host(Timeline& timeline, Dice& dice, std::string name, Release release)
    : timeline_(timeline), dice_(dice), name_(std::move(name)), release_(release) {}

StorePath Host::old_system() { return path_of('1'); }
StorePath Host::new_system() { return path_of('2'); }

SystemState Host::state() const {
  return {.running = running_,
          .profile = profile_,
          .generation = profile_ == old_system() ? 1 : 2,
          .boot_id = name_ + "-" + std::to_string(boot_),
          .failed_units = {}};
}

void Host::start_agent() {
  if (!is_on_ || agent_runs_) return;
  agent_runs_ = true;
  ++life_;
  published_ = journal_;
  if (!journal_ || journal_->outcome) return;
  activation_ = Activation::recover(*journal_, state().boot_id);
  drive({});
}

void Host::wake_agent() { start_agent(); }

void Host::begin(const ActivationSpec& spec) {
  if (!agent_runs_ || (activation_ && !activation_->is_finished())) return;
  if (published_ && published_->spec.deployment == spec.deployment) return;
  activation_ = Activation::begin(spec, 0);
  drive({});
}

void Host::confirm(const std::string& nonce) {
  if (agent_runs_ && activation_) drive({ConfirmReceived{nonce}});
}

void Host::drive(std::vector<ActivationInput> inputs) {
  const uint64_t life = life_;
  const Phase was = activation_->record().phase;
  for (const auto& effect : activation_->step(timeline_.now(), std::move(inputs))) start(effect);
  const ActivationRecord& record = activation_->record();
  if (record.phase != was)
    timeline_.tell(name_, std::string(to_string(record.phase)) +
                              (record.outcome ? ", " + std::string(to_string(*record.outcome)) : "") + " " +
                              record.reason);
  if (activation_->is_finished()) published_ = activation_->record();
  if (const auto wake = activation_->next_wakeup())
    timeline_.at(std::max(*wake, timeline_.now() + Millis(1)), [this, life] {
      if (agent_runs_ && life == life_ && activation_ && !activation_->is_finished()) drive({});
    });
}

// Most effects are done after a moment. One that its agent doesn't live to see may have happened or not.
void Host::start(const Effect& effect) {
  const auto done = [&](EffectValue value, std::function<void()> apply) {
    const uint64_t life = life_;
    const bool fails = dice_.chance(kEffectFails);
    timeline_.after(dice_.between(1, 60), [this, life, id = effect.id, fails, value, apply] {
      if (fails)
        finish(life, id, Error{ErrorKind::kFailed, "injected"}, {});
      else
        finish(life, id, value, apply);
    });
  };
  if (const auto* write = std::get_if<effect::WriteJournal>(&effect.what)) {
    done({}, [this, record = write->record] {
      journal_ = record;
      if (record.phase >= Phase::kConfirmed && record.phase <= Phase::kCommitted) was_confirmed_ = true;
      published_ = record;
    });
  } else if (std::holds_alternative<effect::ReadState>(effect.what)) {
    const uint64_t life = life_;
    timeline_.after(dice_.between(1, 60),
                    [this, life, id = effect.id] { finish(life, id, EffectValue(state()), {}); });
  } else if (std::holds_alternative<effect::ArmDeadman>(effect.what)) {
    done({}, [this] {
      deadman_armed_ = true;
      watch_deadline();
    });
  } else if (std::holds_alternative<effect::DisarmDeadman>(effect.what)) {
    done({}, [this] { deadman_armed_ = false; });
  } else if (const auto* run = std::get_if<effect::RunSwitch>(&effect.what)) {
    start_switch(*run, effect.id);
  } else if (std::holds_alternative<effect::StopSwitch>(effect.what)) {
    done({}, [this] {
      for (auto& [unit, stopped] : units_) stopped.is_done = true;
    });
  } else if (const auto* set = std::get_if<effect::SetProfile>(&effect.what)) {
    done({}, [this, path = set->path] { profile_ = path; });
  } else if (std::holds_alternative<effect::RestoreProfile>(effect.what)) {
    done({}, [this] { profile_ = old_system(); });
  } else if (std::holds_alternative<effect::RunCheck>(effect.what)) {
    done(CheckResult{release_.is_healthy, "check"}, {});
  } else {
    done({}, {});
  }
}

void Host::finish(uint64_t life, EffectId id, Result<EffectValue> result, std::function<void()> apply) {
  if (!is_on_ || life != life_) return;
  const bool lives = agent_runs_;
  if (apply && (lives || dice_.chance(0.5))) apply();
  if (lives && activation_) drive({EffectEnded{id, std::move(result)}});
}

void Host::start_switch(const effect::RunSwitch& what, EffectId id) {
  const auto known = units_.find(what.unit);
  if (what.attach && (known == units_.end() || known->second.is_done)) {
    const std::optional<int> exit = known == units_.end() ? std::nullopt : known->second.exit;
    const uint64_t life = life_;
    timeline_.after(Millis(1), [this, life, id, exit] {
      finish(life, id, EffectValue(SwitchExit{exit, ""}), {});
    });
    return;
  }
  waiting_.push_back({id, what.unit});
  if (what.attach) return;
  units_[what.unit] = {};
  const bool is_new = what.closure == new_system();
  if (is_new && what.action == effect::SwitchAction::kTest && release_.hangs) return;
  int exit = is_new && what.action == effect::SwitchAction::kTest ? release_.switch_exit : 0;
  if (what.action == effect::SwitchAction::kBoot && dice_.chance(kBootLoaderFails)) exit = 1;
  const uint64_t boot = boot_;
  timeline_.after(dice_.between(50, 3000), [this, what, exit, boot] {
    if (is_on_ && boot == boot_ && !units_[what.unit].is_done) end_unit(what.unit, exit, what);
  });
}

void Host::end_unit(const std::string& unit, std::optional<int> exit, const effect::RunSwitch& what) {
  units_[unit] = {exit, true};
  const bool nothing_done = exit == 1 || exit == 100;
  if (!nothing_done && what.action == effect::SwitchAction::kTest) {
    running_ = what.closure;
    if (what.closure == new_system()) was_ever_switched_ = true;
  }
  if (!nothing_done && what.action == effect::SwitchAction::kBoot) boot_default_ = what.closure;
  const auto waiting = std::exchange(waiting_, {});
  for (const auto& w : waiting) {
    if (w.unit == unit)
      finish(life_, w.effect, EffectValue(SwitchExit{exit, ""}), {});
    else
      waiting_.push_back(w);
  }
}

// The deadman: past the deadline and its grace it takes over from whoever drives, dead, frozen or alone.
void Host::watch_deadline() {
  const uint64_t boot = boot_;
  timeline_.after(Millis(1000), [this, boot] {
    if (!is_on_ || boot != boot_ || !deadman_armed_) return;
    const bool is_open = journal_ && !journal_->outcome;
    if (is_open && !agent_runs_ && timeline_.now() >= journal_->deadline + kDeadmanGrace) start_agent();
    watch_deadline();
  });
}

void Host::kill_agent() {
  if (!agent_runs_) return;
  timeline_.tell(name_, "the agent is killed");
  agent_runs_ = false;
  activation_.reset();
  waiting_.clear();
  published_.reset();
  const uint64_t boot = boot_;
  // systemd brings it back, most of the time; else the deadman or the next contact must.
  if (dice_.chance(0.7))
    timeline_.after(kAgentRestart, [this, boot] {
      if (boot == boot_) start_agent();
    });
}

void Host::power_cut(Millis off) {
  if (!is_on_) return;
  timeline_.tell(name_, "the power is cut");
  is_on_ = false;
  agent_runs_ = false;
  ++life_;
  activation_.reset();
  published_.reset();
  waiting_.clear();
  units_.clear();
  deadman_armed_ = false;
  timeline_.after(off, [this] {
    ++boot_;
    is_on_ = true;
    running_ = boot_default_;
  });
}

Millis Host::overdue() const {
  if (!is_on_ || running_ != new_system() || was_confirmed_) return Millis(0);
  if (!journal_) return Millis(0);
  return std::max(timeline_.now() - journal_->deadline, Millis(0));
}

}  // namespace flurry::sim
