#include "cli/rpc/agent_convert.h"

#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

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

const std::string kFrom = "/nix/store/00000000000000000000000000000000-old";
const std::string kTo = "/nix/store/11111111111111111111111111111111-new";

v1::Observation observation() {
  v1::Observation o;
  o.set_known(true);
  o.set_deployment("01ARYZ6S41TSV4RRFFQ69G5FAV");
  o.set_revision(42);
  o.set_phase(v1::PHASE_ENDED);
  o.set_back_from(v1::PHASE_CHECKING);
  o.set_outcome("rolled-back");
  o.set_reason("the reason");
  o.set_output("the output");
  o.set_remaining_ms(4321);
  o.add_health("site: HTTP 500");
  o.set_who("alice@laptop");
  o.set_flake_revision("4fafbb0");
  o.set_from_path(kFrom);
  o.set_to_path(kTo);
  o.set_goal("boot");
  o.set_started_unix_ms(5);
  o.set_ended_unix_ms(6);
  return o;
}

TEST(AgentConvert, AViewIsWhatTheAgentTellsFieldByField) {
  const auto view = to_view(observation());
  ASSERT_TRUE(view) << view.error().message;
  EXPECT_TRUE(view->known);
  EXPECT_EQ(view->revision, 42u);
  EXPECT_EQ(view->phase, Phase::kEnded);
  EXPECT_EQ(view->back_from, Phase::kChecking);
  EXPECT_EQ(view->outcome, Outcome::kRolledBack);
  EXPECT_EQ(view->reason, "the reason");
  EXPECT_EQ(view->output, "the output");
  EXPECT_EQ(view->remaining, Millis(4321));
  EXPECT_EQ(view->health, std::vector<std::string>{"site: HTTP 500"});
  EXPECT_FALSE(to_view(v1::Observation())->known);
}

TEST(AgentConvert, OfALongOutputTheEndIsKept) {
  auto told = observation();
  told.set_output(std::string(20'000, 'x') + "the end");
  const auto view = to_view(told);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->output.size(), 16u << 10);
  EXPECT_TRUE(view->output.ends_with("the end"));
}

void expect_told(const PastDeployment& past) {
  EXPECT_EQ(past.deployment, "01ARYZ6S41TSV4RRFFQ69G5FAV");
  EXPECT_EQ(past.who, "alice@laptop");
  EXPECT_EQ(past.revision, "4fafbb0");
  EXPECT_EQ(past.goal, "boot");
  EXPECT_EQ(past.phase, "ended");
  EXPECT_EQ(past.outcome, "rolled-back");
  EXPECT_EQ(past.reason, "the reason");
  EXPECT_EQ(past.from_path, kFrom);
  EXPECT_EQ(past.to_path, kTo);
  EXPECT_EQ(past.started_unix_ms, 5);
  EXPECT_EQ(past.ended_unix_ms, 6);
}

TEST(AgentConvert, AnInspectionIsWhatTheAgentTellsFieldByField) {
  auto reply = reply_at(kNow);
  reply.mutable_state()->set_running(kFrom);
  reply.mutable_state()->set_profile(kTo);
  reply.mutable_state()->set_boot_default(kTo);
  reply.mutable_state()->set_generation(7);
  reply.set_system("aarch64-linux");
  reply.set_wrapped(kTo);
  reply.set_store_free_bytes(12'345);
  reply.set_booted(kFrom);
  reply.set_reboot_needed(true);
  reply.set_system_running("degraded");
  reply.add_notes("look at it");
  *reply.mutable_active() = observation();
  *reply.mutable_last() = observation();
  auto& generation = *reply.add_generations();
  generation.set_number(6);
  generation.set_path(kFrom);
  generation.set_created_unix_ms(77);

  const auto read = to_inspection(reply, kNow);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->facts.state.running->str(), kFrom);
  EXPECT_EQ(read->facts.state.profile->str(), kTo);
  EXPECT_EQ(read->facts.state.boot_default->str(), kTo);
  EXPECT_EQ(read->facts.state.generation, 7u);
  EXPECT_EQ(read->facts.system, "aarch64-linux");
  EXPECT_EQ(read->facts.wrapped->str(), kTo);
  EXPECT_EQ(read->facts.clock_skew_ms, 0);
  ASSERT_TRUE(read->facts.held_by);
  for (const char* part : {"01ARYZ6S41TSV4RRFFQ69G5FAV", "alice@laptop", "ended"})
    EXPECT_NE(read->facts.held_by->find(part), std::string::npos) << *read->facts.held_by;
  EXPECT_EQ(read->store_free_bytes, 12'345u);
  EXPECT_EQ(read->booted, kFrom);
  EXPECT_TRUE(read->reboot_needed);
  EXPECT_EQ(read->system_running, "degraded");
  EXPECT_EQ(read->notes, std::vector<std::string>{"look at it"});
  ASSERT_TRUE(read->active && read->last);
  expect_told(*read->active);
  expect_told(*read->last);
  ASSERT_EQ(read->generations.size(), 1u);
  EXPECT_EQ(read->generations[0].number, 6u);
  EXPECT_EQ(read->generations[0].path.str(), kFrom);
  EXPECT_EQ(read->generations[0].created_unix_ms, 77);
}

// One that ended holds nobody.
TEST(AgentConvert, OnlyTheActiveDeploymentHoldsAHost) {
  auto reply = reply_at(kNow);
  *reply.mutable_last() = observation();
  const auto read = to_inspection(reply, kNow);
  ASSERT_TRUE(read);
  EXPECT_FALSE(read->facts.held_by);
  EXPECT_FALSE(read->active);
}

TEST(AgentConvert, ReportsAreWhatTheChecksSaidAndWhetherTheyDecide) {
  v1::CheckReply reply;
  auto& site = *reply.add_results();
  site.set_name("site");
  site.set_required(true);
  site.set_message("HTTP 500");
  auto& extra = *reply.add_results();
  extra.set_name("extra");
  extra.set_passed(true);
  const auto reports = to_reports(reply, FailedUnits::kIgnore);
  ASSERT_EQ(reports.size(), 2u) << "failed units are not looked at";
  EXPECT_EQ(reports[0].check, "site");
  EXPECT_FALSE(reports[0].passed);
  EXPECT_TRUE(reports[0].required);
  EXPECT_EQ(reports[0].message, "HTTP 500");
  EXPECT_EQ(reports[1].check, "extra");
  EXPECT_TRUE(reports[1].passed);
  EXPECT_FALSE(reports[1].required);
}

// What is new can't be told without a deployment, so it decides nothing; any failed unit does.
TEST(AgentConvert, FailedUnitsDecideOnlyWhereAnyOfThemDoes) {
  for (const FailedUnits policy : {FailedUnits::kAny, FailedUnits::kNew}) {
    v1::CheckReply reply;
    auto reports = to_reports(reply, policy);
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_TRUE(reports[0].passed);
    reply.add_failed_units("a.service");
    reply.add_failed_units("b.service");
    reports = to_reports(reply, policy);
    ASSERT_EQ(reports.size(), 1u);
    EXPECT_FALSE(reports[0].passed);
    EXPECT_EQ(reports[0].required, policy == FailedUnits::kAny);
    EXPECT_EQ(reports[0].message, "a.service, b.service");
  }
}

}  // namespace
}  // namespace flurry
