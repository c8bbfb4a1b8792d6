#include <numeric>
#include <optional>
#include <thread>
#include <utility>

#include "cli/settled_inspection.h"
#include "cli/verbs/ask_hosts.h"
#include "cli/verbs/verbs.h"

namespace flurry {
namespace {

constexpr Millis kSessionTimeout{30'000};
constexpr Millis kEvaluateTimeout{3600'000};

StatusReport ask(const HostConfig& host, Result<std::unique_ptr<HostSession>> session) {
  StatusReport report{.host = host.name.str()};
  if (!session) {
    report.error = session.error().message;
    return report;
  }
  AgentClient& agent = (*session)->agent();
  const auto inspection = inspect_settled(agent, host, sys::now() + kSessionTimeout);
  if (!inspection) {
    report.error = inspection.error().message;
    return report;
  }
  report.state = inspection->facts.state;
  report.wrapped = inspection->facts.wrapped;
  report.booted = inspection->booted;
  report.reboot_needed = inspection->reboot_needed;
  report.system_running = inspection->system_running;
  report.agent_version = agent.version();
  report.active = inspection->active;
  report.last = inspection->last;
  report.notes = inspection->notes;
  return report;
}

// What the flake says of a host, or that nothing more comes.
struct Evaluated {
  size_t host;
  Result<HostDerivations> derivations;
};

// Shows each host once it has answered and is evaluated: in the fleet's order, but for a host that lets the
// others wait.
class Board {
 public:
  Board(Reporter& reporter, size_t hosts) : reporter_(reporter), hosts_(hosts) {}

  void answered(size_t host, StatusReport report, bool was_asked) {
    has_error_ |= was_asked && !report.error.empty();
    hosts_[host].report = std::move(report);
  }

  void evaluated(size_t host, Result<HostDerivations> derivations) {
    if (host < hosts_.size()) hosts_[host].derivations = std::move(derivations);
    is_evaluated_ |= host >= hosts_.size();
  }

  void show(TimePoint now) {
    for (; shown_ < hosts_.size() && (hosts_[shown_].is_shown || is_ready(hosts_[shown_])); ++shown_)
      show(hosts_[shown_], now);
    if (now < last_shown_ + kHoldBack) return;
    for (auto& host : hosts_)
      if (is_ready(host)) show(host, now);
  }

  bool is_done() const { return shown_ == hosts_.size(); }
  bool has_error() const { return has_error_; }

 private:
  static constexpr Millis kHoldBack{1000};

  struct Host {
    std::optional<StatusReport> report;
    std::optional<Result<HostDerivations>> derivations;
    bool is_shown = false;
  };

  bool is_ready(const Host& host) const { return host.report && (host.derivations || is_evaluated_); }

  void show(Host& host, TimePoint now) {
    last_shown_ = now;
    if (std::exchange(host.is_shown, true)) return;
    StatusReport& report = *host.report;
    if (host.derivations && !*host.derivations) report.desired_error = host.derivations->error().message;
    if (host.derivations && *host.derivations)
      for (const auto& derivation : (*host.derivations)->profiles)
        (derivation.profile.is_system() ? report.desired : report.desired_profiles[derivation.profile.name]) =
            derivation.out.str();
    reporter_.status(report);
  }

  Reporter& reporter_;
  std::vector<Host> hosts_;
  size_t shown_ = 0;  // all before it are
  TimePoint last_shown_ = sys::now();
  bool is_evaluated_ = false;
  bool has_error_ = false;
};

}  // namespace

int run_status(Context& context) {
  const auto fleet = load_selected(context, Reach::kBySsh);
  if (!fleet) return fail_run(context, fleet.error());
  const auto agent = find_agent_binary();
  if (!agent) return fail_run(context, agent.error());

  // What the flake says is evaluated while the hosts are asked.
  const size_t count = fleet->hosts.size();
  sys::BoundedQueue<Evaluated> evaluated(count + 1);
  std::jthread evaluation([&](const std::stop_token& stop) {
    std::vector<size_t> all(count);
    std::iota(all.begin(), all.end(), 0);
    context.evaluator.evaluate(
        *fleet, all,
        [&](size_t host, const Result<HostDerivations>& derivations) {
          evaluated.push({host, derivations});
        },
        sys::now() + kEvaluateTimeout, stop);
    evaluated.push({count, Error{ErrorKind::kFailed, "all is said"}});
  });
  Board board(context.reporter, count);
  const auto look = [&](Millis patience) {
    for (auto& one : evaluated.pop_all(sys::now() + patience))
      board.evaluated(one.host, std::move(one.derivations));
    board.show(sys::now());
  };
  ask_hosts_each<StatusReport>(
      context, *fleet, *agent, kSessionTimeout,
      [&](size_t host, Result<std::unique_ptr<HostSession>> session) {
        return ask(fleet->hosts[host], std::move(session));
      },
      [&](size_t host, StatusReport report) {
        board.answered(host, std::move(report), !fleet->hosts[host].error);
      },
      [&] { look(Millis(0)); });
  while (!board.is_done()) {
    look(Millis(100));
    if (context.interrupted.stop_requested()) leave(fail_run(context, interruption()));
  }
  return board.has_error() ? 3 : code_of_errors(*fleet);
}

}  // namespace flurry
