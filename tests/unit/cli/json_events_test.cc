#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "cli/report/json_reporter.h"
#include "flurry/v1/event.pb.h"
#include "tests/unit/cli/string_sink.h"

// What a program reads, field by field. Every value is one of its own, so that none can stand for another.

namespace flurry {
namespace {

using Strings = std::vector<std::string>;

template <typename Field>
Strings strings(const Field& field) {
  return Strings(field.begin(), field.end());
}

// The one event that comes of it.
v1::Event event_of(const std::function<void(JsonReporter&)>& tell) {
  StringSink out;
  JsonReporter reporter(out, {[] { return TimePoint{Millis(1'000)}; }, [] { return 1'700'000'000'000LL; }});
  tell(reporter);
  v1::Event event;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(out.text(), &event).ok()) << out.text();
  EXPECT_EQ(event.unix_ms(), 1'700'000'000'000);
  return event;
}

StorePath path(char c) { return *StorePath::parse("/nix/store/" + std::string(32, c) + "-system"); }

TEST(JsonEvent, OfAHostThatFailedSaysWhereWhyAndBetweenWhat) {
  HostResult result;
  result.outcome = Outcome::kRolledBack;
  result.stage = Stage::kConfirm;
  result.reason = "no confirmation came";
  result.output = "starting nginx\nfailed";
  result.from_path = "/nix/store/from";
  result.to_path = "/nix/store/to";
  const auto event = event_of([&](auto& reporter) { reporter.ended("web", result, Millis(4321)); });
  const auto& ended = event.host_ended();
  EXPECT_EQ(ended.host(), "web");
  EXPECT_EQ(ended.outcome(), "rolled-back");
  EXPECT_EQ(ended.stage(), "confirm");
  EXPECT_EQ(ended.reason(), "no confirmation came");
  EXPECT_EQ(ended.output(), "starting nginx\nfailed");
  EXPECT_EQ(ended.from_path(), "/nix/store/from");
  EXPECT_EQ(ended.to_path(), "/nix/store/to");
  EXPECT_EQ(ended.elapsed_ms(), 4321u);
  EXPECT_EQ(ended.health(), "");
}

TEST(JsonEvent, OfASuccessSaysWhatItRestsOnAndNoStage) {
  HostResult result;
  result.outcome = Outcome::kSucceeded;
  result.stage = Stage::kEnded;
  result.proof = HealthProof{2, FailedUnits::kNew, true};
  const auto ended = event_of([&](auto& reporter) { reporter.ended("web", result, Millis(1)); }).host_ended();
  EXPECT_EQ(ended.outcome(), "succeeded");
  EXPECT_EQ(ended.stage(), "");
  EXPECT_EQ(ended.health(), "2 checks, no new failed units, reachability");
}

TEST(JsonEvent, OfTheBeginningSaysWhatIsDeployedWhereAndByWhom) {
  const auto event = event_of([](auto& reporter) {
    reporter.started({"01J", "./fleet", "4f2a1b9", Goal::kBoot, "alice@laptop", {"db", "web"}, true});
  });
  EXPECT_EQ(event.deployment(), "01J");
  const auto& started = event.deployment_started();
  EXPECT_EQ(started.flake(), "./fleet");
  EXPECT_EQ(started.revision(), "4f2a1b9");
  EXPECT_EQ(started.goal(), "boot");
  EXPECT_EQ(started.who(), "alice@laptop");
  EXPECT_EQ(strings(started.hosts()), (Strings{"db", "web"}));
  const auto plan = event_of([](auto& reporter) {
    reporter.started({"01J", "./fleet", "", Goal::kPush, "alice@laptop", {}, true, true});
  });
  EXPECT_EQ(plan.deployment_started().goal(), "plan");
}

TEST(JsonEvent, OfTheEndCountsHostsByOutcome) {
  HostResult good, back;
  good.outcome = Outcome::kSucceeded;
  back.outcome = Outcome::kRolledBack;
  const auto event = event_of([&](auto& reporter) {
    reporter.finished({good, back, good}, 4, Millis(9876));
  });
  const auto& ended = event.deployment_ended();
  EXPECT_EQ(ended.exit_code(), 4);
  EXPECT_EQ(ended.elapsed_ms(), 9876u);
  ASSERT_EQ(ended.outcomes_size(), 2);
  EXPECT_EQ(ended.outcomes().at("succeeded"), 2u);
  EXPECT_EQ(ended.outcomes().at("rolled-back"), 1u);
}

TEST(JsonEvent, OfAStageAndOfALineNameHostAndStage) {
  const auto stage = event_of([](auto& reporter) { reporter.stage("web", Stage::kCommit); });
  EXPECT_EQ(stage.host_stage().host(), "web");
  EXPECT_EQ(stage.host_stage().stage(), "commit");
  const auto log = event_of([](auto& reporter) { reporter.log("web", Stage::kBuild, "a line"); });
  EXPECT_EQ(log.host_log().host(), "web");
  EXPECT_EQ(log.host_log().stage(), "build");
  EXPECT_EQ(log.host_log().line(), "a line");
  const auto note = event_of([](auto& reporter) { reporter.note("a note"); });
  EXPECT_EQ(note.host_log().host(), "");
  EXPECT_EQ(note.host_log().line(), "a note");
}

TEST(JsonEvent, OfAFailureHasItsExitCode) {
  const auto event = event_of([](auto& reporter) { reporter.failed("no flake", 2); });
  EXPECT_EQ(event.failure().message(), "no flake");
  EXPECT_EQ(event.failure().exit_code(), 2);
}

TEST(JsonEvent, OfACheckSaysWhetherItDecides) {
  const auto first = event_of([](auto& reporter) {
    reporter.checked({"web", "site", true, false, "HTTP 200"});
  });
  EXPECT_EQ(first.check_result().host(), "web");
  EXPECT_EQ(first.check_result().check(), "site");
  EXPECT_TRUE(first.check_result().passed());
  EXPECT_FALSE(first.check_result().required());
  EXPECT_EQ(first.check_result().message(), "HTTP 200");
  const auto second = event_of([](auto& reporter) { reporter.checked({"web", "site", false, true, ""}); });
  EXPECT_FALSE(second.check_result().passed());
  EXPECT_TRUE(second.check_result().required());
}

TEST(JsonEvent, OfAListingHasAllThatTheFleetSays) {
  HostListing listing;
  listing.host = "web";
  listing.addresses = {"a.example", "b.example"};
  listing.user = "deploy";
  listing.port = 2222;
  listing.tags = {"edge", "web"};
  listing.profiles = {{"home", "alice", ""}, {"system", "root", ""}};
  listing.checks = {"site"};
  listing.requires_hosts = {"db"};
  listing.error = "targetPort: wrong\ntags: wrong";
  const auto event = event_of([&](auto& reporter) { reporter.listed(listing); });
  const auto& listed = event.host_listed();
  EXPECT_EQ(listed.host(), "web");
  EXPECT_EQ(listed.error(), "targetPort: wrong\ntags: wrong");
  EXPECT_EQ(strings(listed.addresses()), (Strings{"a.example", "b.example"}));
  EXPECT_EQ(listed.user(), "deploy");
  EXPECT_EQ(listed.port(), 2222u);
  EXPECT_EQ(strings(listed.tags()), (Strings{"edge", "web"}));
  ASSERT_EQ(listed.profiles_size(), 2);
  EXPECT_EQ(listed.profiles(0).name(), "home");
  EXPECT_EQ(listed.profiles(0).user(), "alice");
  EXPECT_EQ(listed.profiles(1).name(), "system");
  EXPECT_EQ(strings(listed.checks()), Strings{"site"});
  EXPECT_EQ(strings(listed.required_hosts()), Strings{"db"});
}

TEST(JsonEvent, OfAnEvaluationHasItsDerivationsOrItsError) {
  const auto event = event_of([](auto& reporter) {
    reporter.evaluated(
        {.host = "web", .error = "", .profiles = {{"system", "/nix/store/d.drv", "/nix/store/o"}}});
  });
  const auto& good = event.host_evaluated();
  EXPECT_EQ(good.host(), "web");
  EXPECT_EQ(good.error(), "");
  ASSERT_EQ(good.profiles_size(), 1);
  EXPECT_EQ(good.profiles(0).profile(), "system");
  EXPECT_EQ(good.profiles(0).drv(), "/nix/store/d.drv");
  EXPECT_EQ(good.profiles(0).out(), "/nix/store/o");
  const auto bad = event_of([](auto& reporter) { reporter.evaluated({.host = "web", .error = "why"}); });
  EXPECT_EQ(bad.host_evaluated().error(), "why");
}

TEST(JsonEvent, OfAPlanHasEachNumber) {
  const auto event = event_of([](auto& reporter) { reporter.planned("web", {true, 1, 2, 3, 4, 5, 6, 7}); });
  const auto& planned = event.host_planned();
  EXPECT_EQ(planned.host(), "web");
  EXPECT_TRUE(planned.builds_there());
  EXPECT_EQ(planned.closure_paths(), 1u);
  EXPECT_EQ(planned.closure_bytes(), 2u);
  EXPECT_EQ(planned.missing_paths(), 3u);
  EXPECT_EQ(planned.missing_bytes(), 4u);
  EXPECT_EQ(planned.substituted_paths(), 5u);
  EXPECT_EQ(planned.substituted_bytes(), 6u);
  EXPECT_EQ(planned.wire_bytes(), 7u);
}

TEST(JsonEvent, OfACopyUnderWayHasEachNumber) {
  const auto event = event_of([](auto& reporter) { reporter.copying("web", {50, 40, 30, 20, 10}); });
  const auto& progress = event.copy_progress();
  EXPECT_EQ(progress.host(), "web");
  EXPECT_EQ(progress.bytes_total(), 50u);
  EXPECT_EQ(progress.bytes_sent(), 40u);
  EXPECT_EQ(progress.paths_total(), 30u);
  EXPECT_EQ(progress.paths_done(), 20u);
  EXPECT_EQ(progress.wire_bytes(), 10u);
}

PastDeployment past(const std::string& word) {
  PastDeployment out;
  out.deployment = word + "-id";
  out.who = word + "-who";
  out.revision = word + "-revision";
  out.goal = word + "-goal";
  out.phase = word + "-phase";
  out.outcome = word + "-outcome";
  out.reason = word + "-reason";
  out.from_path = word + "-from";
  out.to_path = word + "-to";
  out.started_unix_ms = static_cast<long long>(word.size());
  out.ended_unix_ms = 100 + static_cast<long long>(word.size());
  return out;
}

void expect_past(const v1::HostStatus::Deployment& told, const std::string& word) {
  EXPECT_EQ(told.deployment(), word + "-id");
  EXPECT_EQ(told.who(), word + "-who");
  EXPECT_EQ(told.revision(), word + "-revision");
  EXPECT_EQ(told.phase(), word + "-phase");
  EXPECT_EQ(told.outcome(), word + "-outcome");
  EXPECT_EQ(told.reason(), word + "-reason");
  EXPECT_EQ(told.from_path(), word + "-from");
  EXPECT_EQ(told.to_path(), word + "-to");
  EXPECT_EQ(told.started_unix_ms(), static_cast<long long>(word.size()));
  EXPECT_EQ(told.ended_unix_ms(), 100 + static_cast<long long>(word.size()));
}

TEST(JsonEvent, OfAStatusHasAllThatTheHostSays) {
  StatusReport report{.host = "web"};
  report.state.running = path('1');
  report.state.profile = path('2');
  report.state.generation = 17;
  report.state.failed_units = {"a.service", "b.service"};
  report.state.user_profiles["home"] = {path('3'), 5};
  report.desired_profiles["home"] = path('4').str();
  report.booted = path('5').str();
  report.desired = path('6').str();
  report.reboot_needed = true;
  report.system_running = "degraded";
  report.agent_version = "0.1.0";
  report.active = past("active");
  report.last = past("last");
  report.notes = {"look at it"};
  const auto event = event_of([&](auto& reporter) { reporter.status(report); });
  const auto& status = event.host_status();
  EXPECT_EQ(status.host(), "web");
  EXPECT_EQ(status.error(), "");
  EXPECT_EQ(status.running(), path('1').str());
  EXPECT_EQ(status.profile(), path('2').str());
  EXPECT_EQ(status.generation(), 17u);
  EXPECT_EQ(status.booted(), path('5').str());
  EXPECT_EQ(status.desired(), path('6').str());
  EXPECT_EQ(status.drift(), "drifted");
  EXPECT_TRUE(status.reboot_needed());
  EXPECT_EQ(strings(status.failed_units()), (Strings{"a.service", "b.service"}));
  EXPECT_EQ(status.system_running(), "degraded");
  EXPECT_EQ(status.agent_version(), "0.1.0");
  ASSERT_TRUE(status.has_active() && status.has_last());
  expect_past(status.active(), "active");
  expect_past(status.last(), "last");
  ASSERT_EQ(status.user_profiles_size(), 1);
  EXPECT_EQ(status.user_profiles(0).name(), "home");
  EXPECT_EQ(status.user_profiles(0).path(), path('3').str());
  EXPECT_EQ(status.user_profiles(0).generation(), 5u);
  EXPECT_EQ(status.user_profiles(0).desired(), path('4').str());
  EXPECT_EQ(strings(status.notes()), Strings{"look at it"});
}

TEST(JsonEvent, OfAHostThatDidNotAnswerSaysWhy) {
  const auto event = event_of([](auto& reporter) { reporter.status({.host = "web", .error = "no route"}); });
  EXPECT_EQ(event.host_status().error(), "no route");
  EXPECT_FALSE(event.host_status().has_active());
  EXPECT_NE(event.host_status().drift(), "in-sync");
}

}  // namespace
}  // namespace flurry
