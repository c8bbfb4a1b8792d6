#include "agent/deadman.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <optional>
#include <utility>

#include "agent/deadman_watch.h"
#include "agent/executor.h"
#include "agent/file_lock.h"
#include "agent/log.h"
#include "agent/nixos_system.h"
#include "core/sys/clock.h"

namespace flurry::agent {
namespace {

// While a switch that ran into its timeout is stopped, nothing is written for as long as systemd needs.
constexpr Millis kStopGrace{15'000};
// For who holds a deployment whose deadline is one of another boot's clock.
constexpr Millis kUnknownDeadline{60'000};
constexpr Millis kAgain{1'000};

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

// One deadman's life. Each turn looks at the journal, and acts or says until when there is nothing to do.
class Deadman {
 public:
  Deadman(const DeploymentId& id, System& system, Journal& journal, const Paths& paths,
          const DeadmanOptions& options)
      : id_(id), system_(system), journal_(journal), paths_(paths), options_(options) {}

  // Nothing: it is over.
  std::optional<TimePoint> turn();

 private:
  TimePoint due(const ActivationRecord& record, const std::string& boot_id, bool is_held) const;
  void take_over(const std::string& boot_id);

  const DeploymentId& id_;
  System& system_;
  Journal& journal_;
  const Paths& paths_;
  const DeadmanOptions& options_;
  bool is_on_watch_ = false;
  uint64_t last_sequence_ = 0;
  bool was_written_since_ = false;  // in this process's life, and so by this boot's clock
  TimePoint last_progress_ = sys::now();
};

TimePoint Deadman::due(const ActivationRecord& record, const std::string& boot_id, bool is_held) const {
  const bool is_other_boot = record.before.boot_id != boot_id;
  const bool has_our_clock = is_same_kernel(record.before.boot_id, boot_id) || was_written_since_;
  const TimePoint overdue = record.deadline + options_.grace;
  if (is_held) {
    if (!has_our_clock) return last_progress_ + kUnknownDeadline;
    // The last write was at the phase's begin; what the deadline makes the agent do comes after it.
    const TimePoint from =
        record.phase == Phase::kSwitching && !is_other_boot ? overdue + kStopGrace : last_progress_;
    return std::max(overdue, from + options_.stalled_for);
  }
  // The deadline of a rollback has room for switches that hang. Where nobody drives it, that is lost time; so
  // it is after a boot, which has ended whatever was to come before the deadline.
  const TimePoint left_alone = last_progress_ + options_.grace;
  if (is_other_boot) return left_alone;
  return record.phase == Phase::kRollingBack ? std::min(overdue, left_alone) : overdue;
}

std::optional<TimePoint> Deadman::turn() {
  const TimePoint now = sys::now();
  const auto entry = journal_.find(id_);
  if (!entry) {
    log_warning("deployment " + id_.str() + ": " + entry.error().message);
    return now + kAgain;
  }
  if (!std::exchange(is_on_watch_, true)) options_.on_watch();
  // It was there when the deadman was armed: a person has taken it away, and the deadman's work with it.
  if (!*entry) {
    log_warning("deployment " + id_.str() + " has no journal any more: nothing to watch");
    return std::nullopt;
  }
  const ActivationRecord& record = (*entry)->record;
  if (record.phase == Phase::kEnded) return std::nullopt;
  if ((*entry)->sequence != last_sequence_) last_progress_ = now;
  was_written_since_ |= last_sequence_ != 0 && (*entry)->sequence != last_sequence_;
  last_sequence_ = (*entry)->sequence;
  const auto boot_id = options_.boot_id();
  if (!boot_id) {
    log_warning(boot_id.error().message);
    return now + kAgain;
  }
  const bool is_held = !is_free(paths_);
  if (const TimePoint at = due(record, *boot_id, is_held); now < at) return at;
  if (!options_.may_act(record.before.boot_id != *boot_id)) return now + kAgain;
  if (is_held) {
    kill_holder(paths_);
    last_progress_ = now;  // of who comes after it
    return now + kAgain;
  }
  take_over(*boot_id);
  return now + kAgain;
}

void Deadman::take_over(const std::string& boot_id) {
  log_warning("deployment " + id_.str() + ": its deadline has passed and nobody acts: going on with it");
  Executor executor(system_, journal_, paths_,
                    {.boot_id = boot_id, .idle_exit = Millis(0), .follows = false});
  executor.run();
  last_progress_ = sys::now();  // of whoever was faster, and may freeze in its turn
}

}  // namespace

void run_deadman(const DeploymentId& id, System& system, Journal& journal, const Paths& paths,
                 const DeadmanOptions& options) {
  // Before the first look: what is written after it is noticed.
  DeadmanWatch watch(paths.journals());
  Deadman deadman(id, system, journal, paths, options);
  while (const auto until = deadman.turn()) {
    const auto held = FileLock::is_held(paths.executor_lock());
    watch.wait(*until, held && *held ? FileLock::holder(paths.executor_lock()) : std::nullopt);
  }
}

}  // namespace flurry::agent
