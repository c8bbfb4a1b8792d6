#include "tests/sim/host.h"

#include <algorithm>

namespace flurry::sim {
namespace {

constexpr Millis kAgentRestart{200};

}  // namespace

Host::Host(Timeline& timeline, Dice& dice, std::string name)
    : machine(timeline, dice, std::move(name)), timeline_(timeline), dice_(dice) {
  shared.at_point = [this](Process& process) { return at_point(process); };
  shared.arm_deadman = [this](const DeploymentId& id) { arm(id); };
  shared.disarm_deadman = [this](const DeploymentId& id) {
    kill_deadman(id);
    deadmen_.erase(id);
  };
  shared.on_fault = [this](Millis takes, bool) {
    is_hurt_ = true;
    injected_ += takes;
  };
  machine.on_replaced_agent = [this] {
    if (agent_) agent_->terminate();
  };
  machine.on_trouble = [this](Millis takes) {
    is_troubled_ = true;
    injected_ += takes;
  };
  machine.on_emergency = [this] {
    if (!agent_ || !agent_->is_alive()) return;
    if (dice_.chance(0.5))
      agent_->terminate();
    else
      agent_->kill();
  };
}

bool Host::is_reachable() const {
  const bool is_cut = timeline_.now() < cut_until_;
  return machine.is_on && !machine.is_emergency && !is_cut &&
         !(machine.running && machine.release(*machine.running).cuts_network);
}

Process& Host::make_process(bool follows) {
  return processes_.emplace_back(machine, shared, next_pid_++, follows);
}

Process* Host::agent(uint64_t pid) {
  return machine.is_on && agent_ && agent_->is_alive() && agent_->pid() == pid ? agent_ : nullptr;
}

Process& Host::connect() {
  if (!agent_ || !agent_->is_alive()) {
    start_agent();
    return processes_.back();
  }
  return *agent_;
}

void Host::start_agent() {
  if (!machine.is_on || machine.is_emergency || (agent_ && agent_->is_alive())) return;
  agent_ = &make_process(true);
  agent_->on_left = [this] { restart_agent_soon(kAgentRestart); };
  // agent/housekeeping.cc: roots of deployments that have ended.
  std::erase_if(machine.disk.roots, [this](const auto& root) {
    const auto id = DeploymentId::parse(root.first.substr(0, 26));
    const auto* entry = id ? machine.disk.find(*id) : nullptr;
    return entry && entry->record.phase == Phase::kEnded;
  });
  agent_->start();
}

void Host::restart_agent_soon(Millis delay) {
  const uint64_t boot = machine.boot;
  timeline_.after(delay, [this, boot] {
    if (machine.boot == boot) start_agent();
  });
}

// systemd brings it back, most of the time; else the deadman or the next contact must.
void Host::kill_agent() {
  if (!agent_ || !agent_->is_alive()) return;
  agent_->kill();
  if (dice_.chance(0.7)) restart_agent_soon(kAgentRestart);
}

bool Host::at_point(Process& process) {
  ++points_;
  for (auto [it, end] = planned_.equal_range(points_); it != end; ++it) strike(it->second);
  return !process.is_alive();
}

void Host::strike(Fault fault) {
  if (!machine.is_on || shared.is_calm) return;
  is_struck_ = true;
  constexpr const char* kNames[] = {"agent killed",   "agent stopped", "agent frozen",
                                    "deadman killed", "power cut",     "disk full",
                                    "network cut",    "rebuild",       "lock held"};
  timeline_.tell(machine.name,
                 "point " + std::to_string(points_) + ", fault: " + kNames[static_cast<int>(fault)]);
  switch (fault) {
    case Fault::kKillAgent:
      return kill_agent();
    case Fault::kStopAgent:
      if (agent_ && agent_->is_alive())
        timeline_.after(Millis(0), [this, agent = agent_] { agent->terminate(); });
      return;
    case Fault::kFreezeAgent:
      if (!agent_ || !agent_->is_alive()) return;
      agent_->freeze();
      was_frozen_ = true;
      // For good, or for a while.
      if (dice_.chance(0.5))
        timeline_.after(dice_.between(100, 200'000), [agent = agent_] { agent->thaw(); });
      return;
    case Fault::kKillDeadman:
      for (auto& [id, deadman] : deadmen_) kill_deadman(id);
      return;
    case Fault::kPowerCut:
      return cut_power();
    case Fault::kDiskFull: {
      is_hurt_ = true;
      const Millis until = dice_.chance(0.3) ? Millis(1'000'000'000) : dice_.between(10, 60'000);
      injected_ += std::min(until, Millis(60'000));
      machine.disk.refuse_until(timeline_.now() + until);
      return;
    }
    case Fault::kCutNetwork:
      cut_until_ = timeline_.now() + dice_.between(100, 240'000);
      return;
    case Fault::kRebuild:
      // Of two of them nobody could tell which came to the boot loader.
      if (machine.was_somebody_here() && !machine.is_boot_loader_read) return;
      is_troubled_ = true;
      return machine.rebuild(draw_rebuild());
    case Fault::kHoldLock:
      return machine.hold_lock(dice_.between(500, 90'000));
  }
}

// nixos-rebuild switch, boot or test, or one that was interrupted.
Rebuild Host::draw_rebuild() {
  Rebuild out{.path = choices.at(dice_.below(choices.size()))};
  const bool is_switch = dice_.chance(0.5);
  out.switches = is_switch || dice_.chance(0.4);
  out.sets_profile = is_switch || !out.switches;
  out.installs_boot = is_switch || (!out.switches && dice_.chance(0.8));
  // Its own program told to install it, without the profile.
  if (machine.is_boot_loader_read && dice_.chance(0.1)) out = {.path = out.path, .installs_boot = true};
  // Who takes a host down himself is left with it.
  out.switches &= !machine.release(out.path).is_emergency;
  return out;
}

void Host::cut_power() {
  for (auto& process : processes_) process.kill(true);
  agent_ = nullptr;
  for (auto& [id, deadman] : deadmen_) ++deadman.life;
  deadmen_.clear();
  machine.power_off();
  timeline_.after(dice_.between(100, 20'000), [this] {
    machine.power_on();
    timeline_.tell(machine.name, "boots");
  });
}

void Host::arm(const DeploymentId& id) {
  if (deadmen_.contains(id)) return;
  deadmen_.emplace(id, Deadman{});
  start_deadman(id);
}

void Host::start_deadman(const DeploymentId& id) {
  Deadman& deadman = deadmen_.at(id);
  deadman.last_sequence = 0;
  deadman.last_progress = timeline_.now();
  deadman.executor = nullptr;
  poll_later(id);
}

// Its unit has Restart=on-failure, RestartSec=1.
void Host::kill_deadman(const DeploymentId& id) {
  const auto it = deadmen_.find(id);
  if (it == deadmen_.end()) return;
  if (it->second.executor) it->second.executor->kill();
  it->second.executor = nullptr;
  const uint64_t life = ++it->second.life;
  const uint64_t boot = machine.boot;
  timeline_.after(Millis(1000), [this, id, life, boot] {
    const auto again = deadmen_.find(id);
    if (machine.is_on && machine.boot == boot && again != deadmen_.end() && again->second.life == life)
      start_deadman(id);
  });
}

void Host::poll_later(const DeploymentId& id) {
  const uint64_t life = deadmen_.at(id).life;
  const uint64_t boot = machine.boot;
  timeline_.after(Millis(1000), [this, id, life, boot] {
    const auto it = deadmen_.find(id);
    if (machine.is_on && machine.boot == boot && it != deadmen_.end() && it->second.life == life) poll(id);
  });
}

// agent/deadman.cc
void Host::poll(const DeploymentId& id) {
  constexpr Millis kStopGrace{15'000};
  Deadman& deadman = deadmen_.at(id);
  const JournalFile* entry = machine.disk.find(id);
  if (!entry || entry->record.phase == Phase::kEnded) {
    deadmen_.erase(id);
    return;
  }
  const ActivationRecord& record = entry->record;
  const TimePoint now = timeline_.now();
  if (entry->sequence != deadman.last_sequence) deadman.last_progress = now;
  deadman.last_sequence = entry->sequence;
  const bool is_due = now >= record.deadline + kDeadmanGrace;
  const bool is_left =
      record.phase == Phase::kRollingBack && now - deadman.last_progress >= kDeadmanGrace && !shared.lock;
  if (!is_due && !is_left) return poll_later(id);
  if (shared.lock) {
    const bool is_stopping = record.phase == Phase::kSwitching;
    const TimePoint from = is_stopping ? record.deadline + kDeadmanGrace + kStopGrace : deadman.last_progress;
    if (now - from >= kDeadmanGrace) {
      timeline_.tell(machine.name, "the deadman kills who holds the lock");
      const Process* holder = shared.lock;
      if (holder == agent_) kill_agent();
      for (auto& [other, its] : deadmen_)
        if (its.executor == holder) kill_deadman(other);
      deadman.last_progress = now;
    }
    return poll_later(id);
  }
  Process& executor = make_process(false);
  deadman.executor = &executor;
  const uint64_t life = deadman.life;
  executor.on_left = [this, id, life] {
    const auto it = deadmen_.find(id);
    if (it == deadmen_.end() || it->second.life != life) return;
    it->second.executor = nullptr;
    it->second.last_progress = timeline_.now();
    poll_later(id);
  };
  executor.start();
}

void Host::collect_garbage() {
  if (machine.is_on) machine.disk.collect_garbage(machine.running, dice_.chance(0.5));
}

void Host::heal() {
  shared.is_calm = true;
  cut_until_ = {};
  machine.boot_loader_fails = 0;
  machine.disk.refuse_until({});
  if (!machine.is_on) return;
  if (agent_ && agent_->is_alive() && agent_->is_frozen()) agent_->kill();
  if (agent_ && agent_->is_alive())
    agent_->terminate();  // for want of work; the next contact starts it anew
  else
    start_agent();
}

}  // namespace flurry::sim
