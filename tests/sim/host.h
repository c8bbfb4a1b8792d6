#pragma once

#include <memory>

#include "tests/sim/process.h"

namespace flurry::sim {

enum class Fault {
  kKillAgent,
  kStopAgent,
  kFreezeAgent,
  kKillDeadman,
  kPowerCut,
  kDiskFull,
  kCutNetwork,
  kRebuild,   // somebody else's
  kHoldLock,  // somebody else does
};

// A machine with an agent, the deadmen of its deployments, and what goes wrong there.
class Host {
 public:
  Host(Timeline& timeline, Dice& dice, std::string name);
  Host(const Host&) = delete;

  Machine machine;
  std::vector<StorePath> choices;  // of somebody else: releases, old systems, a third
  Shared shared;

  // --- what its network carries ---------------------------------------------------------------------------
  bool is_reachable() const;
  // Starts the agent where none runs; it may be gone again at once.
  Process& connect();
  Process* agent(uint64_t pid);

  // --- faults ---------------------------------------------------------------------------------------------
  void plan(uint64_t point, Fault fault) { planned_.emplace(point, fault); }
  void strike(Fault fault);
  void collect_garbage();
  // Nothing goes wrong any more, and somebody looks at it, as `flurry status` does.
  void heal();
  Millis injected() const { return injected_; }
  bool was_hurt() const { return is_hurt_; }
  bool was_frozen() const { return was_frozen_; }
  // Something of the kind happened, or could not be seen.
  bool was_struck() const { return is_struck_; }
  bool was_troubled() const { return is_troubled_; }

  // --- truth ----------------------------------------------------------------------------------------------
  size_t deadmen() const { return deadmen_.size(); }

 private:
  struct Deadman {
    uint64_t life = 0;
    uint64_t last_sequence = 0;
    TimePoint last_progress{};
    Process* executor = nullptr;
  };

  bool at_point(Process& process);
  void start_agent();
  void kill_agent();
  void restart_agent_soon(Millis delay);
  void cut_power();
  Rebuild draw_rebuild();
  void arm(const DeploymentId& id);
  void start_deadman(const DeploymentId& id);
  void kill_deadman(const DeploymentId& id);
  void poll_later(const DeploymentId& id);
  void poll(const DeploymentId& id);
  Process& make_process(bool follows);

  Timeline& timeline_;
  Dice& dice_;
  std::list<Process> processes_;
  Process* agent_ = nullptr;
  std::map<DeploymentId, Deadman> deadmen_;
  std::multimap<uint64_t, Fault> planned_;
  uint64_t points_ = 0;
  uint64_t next_pid_ = 1;
  TimePoint cut_until_{};
  Millis injected_{0};
  bool is_hurt_ = false;
  bool was_frozen_ = false;
  bool is_struck_ = false;
  bool is_troubled_ = false;
};

}  // namespace flurry::sim
