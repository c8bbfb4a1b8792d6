#include "agent/deadman.h"

#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <climits>

#include "agent/executor.h"
#include "agent/file_lock.h"
#include "agent/log.h"
#include "core/sys/clock.h"

namespace flurry::agent {
namespace {

// While a switch that ran into its timeout is stopped, nothing is written for as long as systemd needs.
constexpr Millis kStopGrace{15'000};

// The file name of a process's program; empty where there is no such process.
std::string program_name(const std::string& process) {
  char target[PATH_MAX];
  const ssize_t n = ::readlink(("/proc/" + process + "/exe").c_str(), target, sizeof target);
  std::string path(target, n > 0 ? static_cast<size_t>(n) : 0);
  if (path.ends_with(" (deleted)")) path.resize(path.size() - 10);
  return path.substr(path.rfind('/') + 1);
}

bool is_agent(int pid) {
  const std::string name = program_name(std::to_string(pid));
  return name == "flurry-agent" || (!name.empty() && name == program_name("self"));
}

// Only a process that is an agent and that still holds the lock: a number in a file may be another's by now.
void kill_holder(const Paths& paths) {
  const auto holder = FileLock::holder(paths.executor_lock());
  if (!holder || *holder == ::getpid() || !is_agent(*holder)) return;
  const auto held = FileLock::is_held(paths.executor_lock());
  if (!held || !*held) return;
  log_warning("process " + std::to_string(*holder) +
              " holds the deployment and makes no progress: it is killed");
  ::kill(*holder, SIGKILL);
}

// Whether the executor lock could be had now.
bool is_free(const Paths& paths) {
  const auto held = FileLock::is_held(paths.executor_lock());
  return held && !*held;
}

}  // namespace

void run_deadman(const DeploymentId& id, System& system, Journal& journal, const Paths& paths,
                 const DeadmanOptions& options) {
  uint64_t last_sequence = 0;
  TimePoint last_progress = sys::now();
  for (;; ::poll(nullptr, 0, static_cast<int>(options.poll.count()))) {
    const auto entry = journal.find(id);
    if (!entry) {
      log_warning("deployment " + id.str() + ": " + entry.error().message);
      continue;
    }
    // It was there when the deadman was armed: a person has taken it away, and the deadman's work with it.
    if (!*entry) {
      log_warning("deployment " + id.str() + " has no journal any more: nothing to watch");
      return;
    }
    const ActivationRecord& record = (*entry)->record;
    if (record.phase == Phase::kEnded) return;
    const TimePoint now = sys::now();
    if ((*entry)->sequence != last_sequence) last_progress = now;
    last_sequence = (*entry)->sequence;
    const bool is_same_boot = record.before.boot_id == options.boot_id;
    const bool is_due = !is_same_boot || now >= record.deadline + options.grace;
    // The deadline of a rollback has room for switches that hang. Where nobody drives it, that is lost time.
    const bool is_left = record.phase == Phase::kRollingBack && now - last_progress >= options.grace;
    if (!is_due && !(is_left && is_free(paths))) continue;

    if (!is_free(paths)) {
      // The last write was at the phase's begin; what the deadline makes the agent do comes after it.
      const bool is_stopping = is_same_boot && record.phase == Phase::kSwitching;
      const TimePoint from = is_stopping ? record.deadline + options.grace + kStopGrace : last_progress;
      if (now - from < options.stalled_for) continue;
      kill_holder(paths);
      last_progress = now;  // of who comes after it
      continue;
    }
    log_warning("deployment " + id.str() + ": its deadline has passed and nobody acts: going on with it");
    Executor executor(system, journal, paths,
                      {.boot_id = options.boot_id, .idle_exit = Millis(0), .follows = false});
    executor.run();
    last_progress = sys::now();  // of whoever was faster, and may freeze in its turn
  }
}

}  // namespace flurry::agent
