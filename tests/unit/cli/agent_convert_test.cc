#include "cli/rpc/agent_convert.h"

#include <gtest/gtest.h>

#include <limits>

#include "flurry/v1/agent.pb.h"

namespace flurry {
namespace {

constexpr long long kNow = 1'780'000'000'000;

v1::InspectReply reply_at(long long unix_ms) {
  v1::InspectReply reply;
  reply.mutable_state()->set_boot_id("b");
  reply.set_unix_ms(unix_ms);
  return reply;
}

TEST(AgentConvert, TellsHowFarTheClockIsOff) {
  EXPECT_EQ(to_inspection(reply_at(kNow - 5000), kNow)->facts.clock_skew_ms, -5000);
}

// The least number less now would turn into a small skew, and pass preflight.
TEST(AgentConvert, RefusesAClockBeyondAllTime) {
  using Limits = std::numeric_limits<long long>;
  for (const long long ms : {Limits::min(), -1LL, Limits::max()}) {
    const auto inspection = to_inspection(reply_at(ms), kNow);
    ASSERT_FALSE(inspection) << ms;
    EXPECT_EQ(inspection.error().kind, ErrorKind::kInvalidInput);
  }
}

TEST(AgentConvert, RefusesAnOutcomeThatIsNone) {
  v1::Observation observation;
  observation.set_known(true);
  observation.set_phase(v1::PHASE_ENDED);
  observation.set_outcome("splendid");
  EXPECT_FALSE(to_view(observation));
}

}  // namespace
}  // namespace flurry
