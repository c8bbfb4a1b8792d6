#include "agent/daemon.h"

#include <pthread.h>
#include <signal.h>

#include <optional>
#include <thread>

#include "agent/deadman.h"
#include "agent/executor.h"
#include "agent/file_io.h"
#include "agent/host_mode.h"
#include "agent/housekeeping.h"
#include "agent/log.h"
#include "agent/nixos_system.h"
#include "agent/rpc/server.h"
#include "agent/run_switch.h"
#include "core/sys/clock.h"
#include "core/sys/limits.h"

namespace flurry::agent {
namespace {

constexpr Millis kIdleExit{10 * 60'000};
// Connections, calls and checks together need less than a thousand at worst.
constexpr size_t kOpenFiles = 4096;
constexpr Millis kStartUp{30'000};

int failed(const Error& error) {
  log_warning(error.message);
  return 1;
}

// Blocked before any thread is made, so that one thread can wait for them.
sigset_t block_stop_signals() {
  sigset_t set;
  sigemptyset(&set);
  for (int s : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&set, s);
  ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  return set;
}

Result<std::string> prepare(const Paths& paths) {
  sys::raise_open_files(kOpenFiles);
  RETURN_IF_ERROR(make_private_dir(paths.run()));
  RETURN_IF_ERROR(make_private_dir(paths.state()));
  RETURN_IF_ERROR(make_private_dir(paths.journals()));
  return own_executable();
}

// A deadman must not act in a shutdown. A start-up after a soft reboot is waited for, but not for ever.
class SystemIsUp {
 public:
  bool operator()(bool is_other_boot) {
    const auto state = read_manager_state();
    if (!state) log_warning(state.error().message);
    if (!state || *state == ManagerState::kUp) return true;
    if (*state == ManagerState::kStopping) return false;
    if (!starts_since_) starts_since_ = sys::now();
    return !is_other_boot || sys::now() - *starts_since_ >= kStartUp;
  }

 private:
  std::optional<TimePoint> starts_since_;
};

}  // namespace

int run_daemon(const Paths& paths, MakeHost make_host) {
  const sigset_t stop_signals = block_stop_signals();
  const auto program = prepare(paths);
  if (!program) return failed(program.error());
  const auto build = file_sha256_hex("/proc/self/exe");
  if (!build) return failed(build.error());
  const auto boot_id = read_boot_id();
  if (!boot_id) return failed(boot_id.error());

  forget_stale_incoming(paths, std::chrono::system_clock::now());
  forget_old_agents(paths, *program, std::chrono::system_clock::now());

  const Host host = make_host(paths, *program, false);
  forget_ended_roots(paths, *host.journal);
  Executor executor(*host.system, *host.journal, paths, {.boot_id = *boot_id, .idle_exit = kIdleExit});
  {
    auto server = RpcServer::start(paths.socket(), executor, *host.system, *build);
    if (!server) return failed(server.error());
    if (const auto written = write_file_durably(paths.build_file(), *build + "\n"); !written)
      return failed(written.error());
    // Ended by a signal, or by the one that it sends itself when the loop has ended.
    std::jthread waiter([&] {
      int signal = 0;
      ::sigwait(&stop_signals, &signal);
      executor.stop();
    });
    log_info("flurry-agent " FLURRY_VERSION " (" + build->substr(0, 12) + ") is ready");
    notify_ready();
    executor.run();
    ::pthread_kill(waiter.native_handle(), SIGTERM);
  }
  log_info("flurry-agent ends");
  return 0;
}

int run_deadman_process(const Paths& paths, const std::string& id, MakeHost make_host) {
  ::signal(SIGPIPE, SIG_IGN);
  const auto deployment = DeploymentId::parse(id);
  if (!deployment) return failed(deployment.error());
  const auto program = prepare(paths);
  if (!program) return failed(program.error());
  const Host host = make_host(paths, *program, true);
  run_deadman(*deployment, *host.system, *host.journal, paths,
              {.boot_id = read_boot_id, .may_act = SystemIsUp{}, .on_watch = notify_ready});
  return 0;
}

}  // namespace flurry::agent
