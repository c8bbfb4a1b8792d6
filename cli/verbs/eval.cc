#include <numeric>
#include <thread>

#include "cli/verbs/verbs.h"
#include "core/sys/clock.h"

namespace flurry {
namespace {

constexpr Millis kEvaluateTimeout{3600'000};
// How long a result or Ctrl-C may wait to be seen.
constexpr Millis kTick{20};
constexpr size_t kReportsWaitingMax = 256;

using Reports = sys::BoundedQueue<EvaluationReport>;

EvaluationReport report_of(const HostConfig& host, const Result<HostDerivations>& derivations) {
  EvaluationReport report{.host = host.name.str(), .error = {}, .profiles = {}};
  if (!derivations) {
    report.error = derivations.error().message;
    return report;
  }
  for (const auto& [profile, drv, out] : derivations->profiles)
    report.profiles.push_back({profile.name, drv.str(), out.str()});
  return report;
}

}  // namespace

int run_eval(Context& context) {
  const auto fleet = load_selected(context);
  if (!fleet) return fail_run(context, fleet.error());
  std::vector<size_t> all(fleet->hosts.size());
  std::iota(all.begin(), all.end(), 0);
  Reports reports(kReportsWaitingMax);
  std::jthread evaluation([&](const std::stop_token& stop) {
    context.evaluator.evaluate(
        *fleet, all,
        [&](size_t host, const Result<HostDerivations>& derivations) {
          reports.push(report_of(fleet->hosts[host], derivations));
        },
        sys::now() + kEvaluateTimeout, stop);
  });

  bool is_broken = false;
  for (size_t told = 0; told < all.size();) {
    for (const auto& report : reports.pop_all(sys::now() + kTick)) {
      is_broken |= !report.error.empty();
      context.reporter.evaluated(report);
      ++told;
    }
    if (context.happenings.pop_all(sys::now()).empty()) continue;
    evaluation.request_stop();
    reports.close();
    return fail_run(context, interruption());
  }
  return is_broken ? 2 : 0;
}

}  // namespace flurry
