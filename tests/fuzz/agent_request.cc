// What a controller, or whoever opens the agent's socket, may send: each message of the service by its first
// byte. What is let in can be written down and read back as the same.
#include "core/wire/convert.h"
#include "flurry/v1/agent.pb.h"
#include "flurry/v1/journal.pb.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/records.h"

namespace flurry::fuzz {
namespace {

void check_spec(const v1::ActivationSpec& message, size_t size) {
  const auto spec = wire::from_proto(message);
  if (!spec) return check_told(spec.error(), size);
  FLURRY_CHECK(activates(spec->goal));
  FLURRY_CHECK(spec->health.checks.size() <= kHealthChecksMax);
  v1::ActivationSpec written;
  wire::to_proto(*spec, written);
  const auto again = wire::from_proto(written);
  FLURRY_CHECK(again && is_same(*again, cleaned(*spec)));
}

void check_policy(const v1::HealthPolicy& message, size_t size) {
  const auto policy = wire::from_proto(message);
  if (!policy) return check_told(policy.error(), size);
  v1::HealthPolicy written;
  wire::to_proto(*policy, written);
  const auto again = wire::from_proto(written);
  FLURRY_CHECK(again && *again == cleaned(*policy));
}

void check_profile(const v1::ProfileRef& profile) {
  const auto ref = wire::from_proto(profile);
  if (!ref) return check_told(ref.error(), profile.ByteSizeLong());
  FLURRY_CHECK(!ref->name.empty() && ref->name.find_first_of("/ ") == std::string::npos);
  FLURRY_CHECK(!ref->user.empty() && ref->user.front() != '-');
  if (ref->path.empty()) return;
  FLURRY_CHECK(ref->path.front() == '/' && is_ascii_line(ref->path));
  FLURRY_CHECK((ref->path + "/").find("/../") == std::string::npos);
}

void check_deployment(const std::string& text) {
  const auto id = DeploymentId::parse(text);
  if (!id) return check_told(id.error(), text.size());
  FLURRY_CHECK(id->str() == text);
}

template <typename Message>
bool parse(std::string_view bytes, Message& message) {
  return message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

}  // namespace

void run_one(std::string_view bytes) {
  Input input(bytes);
  const unsigned kind = input.byte() % 6;
  v1::BeginRequest begin;
  v1::CheckRequest check;
  v1::InspectRequest inspect;
  v1::ObserveRequest observe;
  v1::ConfirmRequest confirm;
  v1::RollBackRequest roll_back;
  if (kind == 0 && parse(input.rest(), begin)) check_spec(begin.spec(), bytes.size());
  if (kind == 1 && parse(input.rest(), check)) check_policy(check.health(), bytes.size());
  if (kind == 2 && parse(input.rest(), inspect))
    for (const auto& profile : inspect.user_profiles()) check_profile(profile);
  if (kind == 3 && parse(input.rest(), observe)) check_deployment(observe.deployment());
  if (kind == 4 && parse(input.rest(), confirm)) check_deployment(confirm.deployment());
  if (kind == 5 && parse(input.rest(), roll_back)) {
    check_deployment(roll_back.deployment());
    FLURRY_CHECK(wire::clean_text(roll_back.reason(), 2000).size() <= 2000);
  }
}

}  // namespace flurry::fuzz
