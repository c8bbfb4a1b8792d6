#include "eval/not_supported.h"

#include <algorithm>

#include "eval/json_reader.h"

namespace flurry::eval {
namespace {

// One row a feature that is to come; building the feature deletes its row.
struct HostRule {
  const char* field;
  const char* what;
  bool (*is_used)(const HostConfig& host);
};

template <typename Test>
bool any_check(const HostConfig& host, Test test) {
  return std::any_of(host.health.checks.begin(), host.health.checks.end(), test);
}

constexpr HostRule kHostRules[] = {
    {"profiles.system.user", "a system profile of a user other than root",
     [](const HostConfig& h) {
       const auto system = h.profiles.find("system");
       return system != h.profiles.end() && system->second.user != "root";
     }},
    {"health.checks", "a grpc check",
     [](const HostConfig& h) {
       return any_check(h, [](const HealthCheck& c) { return std::holds_alternative<GrpcCheck>(c.kind); });
     }},
    {"health.checks", "a check from the controller",
     [](const HostConfig& h) {
       return any_check(h, [](const HealthCheck& c) { return c.from == CheckFrom::kController; });
     }},
};

struct RolloutRule {
  const char* field;
  bool (*is_used)(const RolloutConfig& rollout);
};

constexpr RolloutRule kRolloutRules[] = {
    {"canary", [](const RolloutConfig& r) { return !r.canary.empty(); }},
    {"batches", [](const RolloutConfig& r) { return r.batches != RolloutConfig{}.batches; }},
    {"maxFailures", [](const RolloutConfig& r) { return r.max_failures != 0; }},
    {"maxUnavailable", [](const RolloutConfig& r) { return r.max_unavailable.has_value(); }},
    {"onFailure", [](const RolloutConfig& r) { return r.on_failure != OnFailure::kStop; }},
    {"bake", [](const RolloutConfig& r) { return r.bake != Millis(0); }},
    {"order", [](const RolloutConfig& r) { return !r.order.empty(); }},
    {"skipOffline", [](const RolloutConfig& r) { return r.skip_offline; }},
};

}  // namespace

Result<void> refuse_unsupported(Fleet& fleet) {
  for (const auto& rule : kRolloutRules)
    if (rule.is_used(fleet.rollout))
      return Error{ErrorKind::kUnsupported,
                   std::string("flurry.rollout.") + rule.field + ": is not supported yet by this version"};
  for (auto& host : fleet.hosts)
    for (const auto& rule : kHostRules)
      if (!host.error && rule.is_used(host))
        host.error = {ErrorKind::kUnsupported, place_of("flurry.hosts", host.name.str()) + "." + rule.field +
                                                   ": " + rule.what +
                                                   " is not supported yet by this version"};
  return {};
}

}  // namespace flurry::eval
