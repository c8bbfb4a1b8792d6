#pragma once

#include <atomic>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <variant>
#include <vector>

#include "cli/agent_binary.h"
#include "cli/copy/shared_blocks.h"
#include "cli/copy/signing_key.h"
#include "cli/host_session.h"
#include "cli/reporter.h"
#include "cli/transport.h"
#include "core/fleet.h"
#include "core/rollout.h"
#include "core/sys/bounded_queue.h"
#include "eval/builds.h"
#include "eval/evaluator.h"

namespace flurry {

// A line or a number for the reporter, from a thread that works for a host.
struct HostLine {
  size_t host;
  Stage stage;
  std::string line;
};
// What the user has to know of a host, whatever is shown besides.
struct HostWarning {
  size_t host;
  std::string text;
};
struct HostCopying {
  size_t host;
  CopyState state;
};

// What the deployer's loop waits for.
struct HostCopied {
  size_t host;
  CopyAccount account;
};
struct HostPlanned {
  size_t host;
  CopyPlan plan;
};
using Happening =
    std::variant<ActionEnded, Interrupted, HostLine, HostWarning, HostCopying, HostCopied, HostPlanned>;
using Happenings = sys::BoundedQueue<Happening>;

// What the runner works with; all of it outlives the runner.
struct RunnerParts {
  const Fleet& fleet;  // exactly the hosts of this deployment
  const DeploymentOptions& options;
  const eval::EvalOptions& eval_options;
  Transport& transport;
  eval::Evaluator& evaluator;
  const AgentBinary& agent;
  const copy::SigningKey* signing_key;  // null: nothing is signed
  Happenings& happenings;
};

// Carries out the rollout's actions, each on a thread of its own, and tells their ends to the queue.
// start() and flush() are the main thread's. A host's session is touched by one action at a time,
// because the rollout has only one in flight that needs it.
class HostRunner {
 public:
  explicit HostRunner(RunnerParts parts);
  ~HostRunner();  // asks everything to stop and waits for it

  void start(HostAction action);
  // Evaluations started since the last call run together.
  void flush();
  // The host has ended: its connection is closed, once no action works on it.
  void release(size_t host);

 private:
  struct Host {
    std::unique_ptr<HostSession> session;
    SeenHostKeys seen;      // with the session, of the action that dials
    ActionId building = 0;  // the action that waits for the build
    // The actions in flight and the wish for more; the last one to leave closes the session.
    std::atomic<int> holders = 1;
  };

  void spawn(std::function<void(std::stop_token)> work);
  void reap();
  void let_go(size_t host);
  void on_built(size_t host, const Result<void>& built);
  Result<ActionValue> run(size_t host, const action::Any& what, const std::stop_token& stop);
  Result<ActionValue> connect(size_t host);
  bool builds_on_target(size_t host) const;
  Result<ActionValue> build_there(size_t host, const HostDerivations& system, const std::stop_token& stop);
  Result<ActionValue> copy(size_t host, const action::Copy& wanted);
  Result<ActionValue> plan(size_t host, const action::Copy& wanted);
  Result<ActionValue> begin(size_t host, const ActivationSpec& spec);
  Result<ActionValue> observe(size_t host, uint64_t seen);
  Result<ActionValue> reattach(size_t host);
  Result<ActionValue> confirm(size_t host, const std::string& nonce);
  Result<void> redial(size_t host, Millis patience, bool is_urgent);
  void evaluate(const std::vector<std::pair<size_t, ActionId>>& wanted, std::stop_token stop);

  RunnerParts parts_;
  std::deque<Host> hosts_;
  copy::SharedBlocks shared_blocks_;
  std::vector<std::pair<size_t, ActionId>> to_evaluate_;

  struct Task {
    std::atomic<bool> done = false;
    std::jthread thread;
  };
  std::list<Task> tasks_;
  eval::Builds builds_;  // its requests are hosts
};

}  // namespace flurry
