#include <algorithm>
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
  const auto fleet = load_selected(context, Reach::kNone);
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

  size_t failed = 0;
  for (size_t told = 0; told < all.size();) {
    for (const auto& report : reports.pop_all(sys::now() + kTick)) {
      failed += report.error.empty() ? 0 : 1;
      context.reporter.evaluated(report);
      ++told;
    }
    if (context.happenings.pop_all(sys::now()).empty()) continue;
    evaluation.request_stop();
    reports.close();
    return fail_run(context, interruption());
  }
  const bool is_nixs = failed > static_cast<size_t>(std::count_if(
                                    fleet->hosts.begin(), fleet->hosts.end(),
                                    [](const HostConfig& host) { return host.error.has_value(); }));
  return is_nixs ? 2 : code_of_errors(*fleet);
}

}  // namespace flurry
