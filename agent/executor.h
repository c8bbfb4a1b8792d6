#pragma once

#include <future>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "agent/file_lock.h"
#include "agent/journal.h"
#include "agent/observation.h"
#include "agent/paths.h"
#include "agent/system.h"
#include "core/activation.h"
#include "core/sys/bounded_queue.h"

namespace flurry::agent {

// What run() does when there is nothing to do.
struct ExecutorOptions {
  std::string boot_id;
  // run() returns after so long without a call, a connection and a deployment; none: never.
  std::optional<Millis> idle_exit;
  // False (a deadman): run() returns where another process turns out to drive the deployment, and does
  // nothing but drive.
  bool follows = true;
  // Before something that failed is tried again, at first; twice as long each time.
  Millis retry{5'000};
};

// The one loop that drives deployments on a host: feeds the core's state machine, starts its effects,
// and shows how it stands. What it shows is in the journal already. It holds the executor lock for as
// long as a deployment is active; while another process holds it, it only reads the journal.
//
// run() is called once and owns all state. The calls above it come from any thread, wait for the loop,
// and fail with kTimedOut, or with kCancelled when the loop has ended.
class Executor {
 public:
  struct Overview {
    std::optional<Observation> active;
    std::optional<Observation> last;
    std::vector<std::string> notes;  // what somebody should know of this host
  };

  // All three must outlive it.
  Executor(System& system, Journal& journal, const Paths& paths, ExecutorOptions options);

  // Drives until stop() or the idle exit. A deployment that is active then is marked as left in good
  // order; its switches go on by themselves.
  void run();
  // Any thread, and more than once.
  void stop();

  Result<void> begin(ActivationSpec spec);
  // Nothing: no such deployment. Answers when its revision is not `seen`, or after `wait`. The revision
  // is 0 while the deployment is in no journal: were the agent to die now, it would never have been.
  Result<std::optional<Observation>> observe(const DeploymentId& id, uint64_t seen, Millis wait);
  Result<std::optional<Observation>> confirm(const DeploymentId& id, const std::string& nonce);
  Result<void> roll_back(const DeploymentId& id, const std::string& nonce, const std::string& reason);
  Result<Overview> overview();
  Result<std::vector<Observation>> history(size_t count);
  // How many connections to it there are now: their controllers may still want something.
  void connections(size_t count);

 private:
  using MaybeObservation = Result<std::optional<Observation>>;

  struct Begin {
    ActivationSpec spec;
    std::promise<Result<void>> reply;
  };
  struct Observe {
    DeploymentId id;
    uint64_t seen;
    TimePoint until;
    std::promise<MaybeObservation> reply;
  };
  struct Confirm {
    DeploymentId id;
    std::string nonce;
    std::promise<MaybeObservation> reply;
  };
  struct RollBack {
    DeploymentId id;
    std::string nonce;
    std::string reason;
    std::promise<Result<void>> reply;
  };
  struct GetOverview {
    std::promise<Result<Overview>> reply;
  };
  struct GetHistory {
    size_t count;
    std::promise<Result<std::vector<Observation>>> reply;
  };
  struct Connections {
    size_t count;
  };
  struct Stop {};
  // Effect ids start anew with each activation: the end of one must not be taken for another's.
  struct WorkerEnded {
    uint64_t activation;
    EffectEnded what;
  };
  using Event = std::variant<WorkerEnded, Begin, Observe, Confirm, RollBack, GetOverview, GetHistory,
                             Connections, Stop>;

  // A deployment with what is known to be durable of it.
  struct Active {
    Activation machine;
    ActivationRecord durable;
    FileLock lock;
    uint64_t number;  // of this activation in this process
    bool is_journalled = false;
    std::vector<std::string> health = {};
  };

  // An outcome that is told, and that the journal refused.
  struct Untold {
    ActivationRecord record;
    uint64_t sequence;  // of the journal's last word
  };

  struct Worker {
    uint64_t activation;
    EffectId id;
    std::jthread thread;
  };

  // The loop, in executor.cc.
  void take(WorkerEnded ended);
  void take(Connections now);
  void take(Stop);
  void advance(std::vector<ActivationInput> inputs);
  std::optional<EffectEnded> start(Effect effect);
  void finish();
  void follow();
  void go_on_with(JournalEntry entry, FileLock lock);
  void settle_damaged();
  std::vector<std::string> notes() const;
  void retry_later();
  void leave();
  void bump() { ++revision_; }
  bool is_idle() const;
  std::optional<TimePoint> next_wakeup() const;

  // What others ask, in executor_requests.cc.
  void take(Begin request);
  void take(Observe request);
  void take(Confirm request);
  void take(RollBack request);
  void take(GetOverview request);
  void take(GetHistory request);
  Result<void> admit(const ActivationSpec& spec);
  Result<void> refuse_repeated(const ActivationRecord& record, const ActivationSpec& spec) const;
  MaybeObservation look_up(const DeploymentId& id);
  Observation seen_from_outside(const ActivationRecord& record) const;
  bool is_unwritten(const DeploymentId& id) const;
  void answer_observers();
  void remember_unknown(const DeploymentId& id);
  template <typename Request>
  auto ask(Request request, Millis timeout) -> decltype(request.reply.get_future().get());

  System& system_;
  Journal& journal_;
  const Paths& paths_;
  const ExecutorOptions options_;
  sys::BoundedQueue<Event> queue_;

  // Of run()'s thread from here on.
  bool stopping_ = false;
  std::optional<Active> active_;
  std::optional<JournalEntry> followed_;  // unfinished, and driven by another process
  std::optional<TimePoint> look_again_;   // at the journal, for something unfinished
  std::optional<Untold> untold_;
  std::vector<DeploymentId> damaged_;  // journals that nobody can read, and that hold the host
  Millis retry_;                       // until the next try of what failed
  size_t connections_ = 0;
  std::vector<ActivationInput> inputs_;  // for the machine's next step
  std::list<ActivationRecord> recent_;   // that ended in this process's life, newest first
  std::list<Observe> observers_;
  std::list<DeploymentId> given_up_;  // asked for and not known: their controllers told so, newest first
  uint64_t revision_ = 1;
  uint64_t activations_ = 0;
  TimePoint last_call_;
  std::list<Worker> workers_;
};

}  // namespace flurry::agent
