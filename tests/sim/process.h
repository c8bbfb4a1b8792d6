#pragma once

#include "tests/sim/machine.h"

namespace flurry::sim {

class Process;

// What a host's processes share: who holds the executor lock, and who is told what they do.
struct Shared {
  Process* lock = nullptr;
  // Called between any two things that happen to a deployment. True: the process is gone now.
  std::function<bool(Process&)> at_point;
  std::function<void(const ActivationRecord&, bool is_in_journal)> on_outcome;
  std::function<void(const ActivationRecord&)> on_durable;
  std::function<void(const DeploymentId&, bool is_baseline)> on_read;
  std::function<void(const ActivationSpec&)> on_restore;  // of the system's profile
  std::function<void(const DeploymentId&)> arm_deadman;
  std::function<void(const DeploymentId&)> disarm_deadman;
  std::function<void(const StorePath&, const std::string& use)> on_missing;
  // An effect that was made to fail, or to take so long.
  std::function<void(Millis takes, bool fails)> on_fault;
  bool is_calm = false;  // no effect is made to fail any more
};

// A process that drives deployments: the agent, or the executor within a deadman. Mirrors agent/executor*.cc.
class Process {
 public:
  Process(Machine& machine, Shared& shared, uint64_t pid, bool follows);
  Process(const Process&) = delete;

  void start() { turn(); }
  // With the power, or alone: then what it had asked others to do may still happen.
  void kill(bool with_power = false);
  void terminate();  // SIGTERM
  void freeze() { is_frozen_ = true; }
  void thaw();
  bool is_alive() const { return is_alive_; }
  bool is_frozen() const { return is_frozen_; }
  uint64_t pid() const { return pid_; }
  // A deadman's executor has nothing to do any more.
  std::function<void()> on_left;

  // --- what others ask ------------------------------------------------------------------------------------
  struct Answer {
    bool known = false;
    uint64_t revision = 0;
    std::optional<ActivationRecord> record;
  };
  using OnAnswer = std::function<void(Result<Answer>)>;
  void begin(const ActivationSpec& spec, std::function<void(Result<void>)> reply);
  void observe(const DeploymentId& id, uint64_t seen, OnAnswer reply);
  void confirm(const DeploymentId& id, const std::string& nonce, OnAnswer reply);
  void roll_back(const DeploymentId& id, const std::string& nonce);
  void held_by(std::function<void(std::optional<std::string>)> reply);

 private:
  struct Active {
    Activation machine;
    ActivationRecord durable;
    bool is_journalled = false;
    uint64_t number = 0;
  };
  struct Untold {
    ActivationRecord record;
    uint64_t sequence;
  };
  struct Observer {
    DeploymentId id;
    uint64_t seen;
    TimePoint until;
    OnAnswer reply;
  };

  // A thread of the production's that does one effect.
  struct Worker {
    uint64_t number;  // of the activation
    EffectId id;
    effect::Any what;
    ActivationRecord record;
    bool is_placed = false;
    bool is_over = false;
    bool fails = false;
  };

  void post(std::function<void()> what);
  void turn();
  void plan_wake();
  bool is_idle() const;
  void advance();
  bool start(const Effect& effect);
  bool write_journal(const effect::WriteJournal& write, EffectId id);
  // In effects.cc.
  void perform(const Effect& effect);
  void place(Worker& worker);
  Result<EffectValue> carry_out(const effect::Any& what, const ActivationRecord& record);
  void tell(const Worker& worker, Result<EffectValue> result);
  void finish();
  void follow();
  void go_on_with(const JournalFile& entry);
  void retry_later();
  void leave();
  void leave_when_done();
  Result<void> admit(const ActivationSpec& spec);
  Answer look_up(const DeploymentId& id) const;
  void answer_observers();
  bool point() { return !is_alive_ || shared_.at_point(*this) || !is_alive_; }

  Machine& host_;
  Shared& shared_;
  const uint64_t pid_;
  const bool follows_;
  bool is_alive_ = true;
  bool is_frozen_ = false;
  bool is_leaving_ = false;
  bool stopping_ = false;
  std::list<Worker> workers_;
  std::optional<TimePoint> planned_wake_;
  std::list<std::function<void()>> inbox_;
  std::optional<Active> active_;
  std::optional<DeploymentId> followed_;
  std::optional<TimePoint> look_again_;
  std::optional<Untold> untold_;
  Millis retry_{5'000};
  std::vector<ActivationInput> inputs_;
  std::list<ActivationRecord> recent_;
  std::list<Observer> observers_;
  std::set<DeploymentId> given_up_;
  uint64_t revision_ = 1;
  uint64_t activations_ = 0;
};

}  // namespace flurry::sim
