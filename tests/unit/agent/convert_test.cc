#include "agent/convert.h"

#include <google/protobuf/descriptor.h>
#include <google/protobuf/util/message_differencer.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "core/wire/convert.h"
#include "flurry/v1/agent.pb.h"
#include "flurry/v1/journal.pb.h"

// Nothing may be lost between a controller, an agent and its journal. Everything here is set to something
// that is no default, and the messages themselves say whether anything was forgotten.

namespace flurry::agent {
namespace {

StorePath store_path(char c) { return *StorePath::parse("/nix/store/" + std::string(32, c) + "-system"); }

// Adds the name of every field of `message`, and of what is in it, that is not set. Of a oneof one is enough.
void add_unset(const google::protobuf::Message& message, const std::string& place,
               std::vector<std::string>& out) {
  const auto& reflection = *message.GetReflection();
  const auto& type = *message.GetDescriptor();
  for (int i = 0; i < type.field_count(); ++i) {
    const auto& field = *type.field(i);
    const std::string name = place + "." + field.name();
    const bool is_list = field.is_repeated();
    const bool is_set =
        is_list ? reflection.FieldSize(message, &field) > 0 : reflection.HasField(message, &field);
    const bool has_sibling = !is_list && field.real_containing_oneof() != nullptr &&
                             reflection.HasOneof(message, field.real_containing_oneof());
    if (!is_set && !has_sibling) out.push_back(name);
    if (!is_set || field.is_map() || field.cpp_type() != google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE)
      continue;
    if (!is_list) add_unset(reflection.GetMessage(message, &field), name, out);
    for (int n = 0; is_list && n < reflection.FieldSize(message, &field); ++n)
      add_unset(reflection.GetRepeatedMessage(message, &field, n), name, out);
  }
}

std::vector<std::string> unset(const google::protobuf::Message& message) {
  std::vector<std::string> out;
  add_unset(message, "", out);
  return out;
}

HealthCheck check_of(const std::string& name, decltype(HealthCheck::kind) kind, int seed) {
  HealthCheck check;
  check.name = name;
  check.kind = std::move(kind);
  check.interval = Millis(1000 + seed);
  check.timeout = Millis(2000 + seed);
  check.initial_delay = Millis(3000 + seed);
  check.success_threshold = static_cast<uint32_t>(40 + seed);
  check.failure_threshold = static_cast<uint32_t>(50 + seed);
  return check;
}

HealthPolicy full_policy() {
  HealthPolicy policy{
      .min_healthy = Millis(11'000), .deadline = Millis(222'000), .failed_units = FailedUnits::kAny};
  policy.checks = {
      check_of("a", HttpCheck{"http://localhost/", "POST", {{"A", "b"}, {"C", "d"}}, {200, 204}, "ok", true},
               1),
      check_of("b", TcpCheck{"db.example", 5432}, 2),
      check_of("c", CommandCheck{{"sh", "-c", "exit 0"}}, 3),
      check_of("d", UnitCheck{"web.service"}, 4),
  };
  return policy;
}

ActivationRecord full_record() {
  ActivationRecord record{.spec = {.deployment = *DeploymentId::parse("01ARYZ6S41TSV4RRFFQ69G5FAV"),
                                   .nonce = "0123456789abcdef0123456789abcdef",
                                   .who = "alice@laptop",
                                   .revision = "4fafbb0"}};
  ActivationSpec& spec = record.spec;
  spec.profiles = {{{"home", "alice", "/home/alice/link"}, store_path('1'), false},
                   {{"tools", "bob", "/home/bob/link"}, store_path('2'), false}};
  spec.profiles[0].needs_activation = spec.profiles[1].needs_activation = true;
  spec.profiles[0].taken_from = 21;
  spec.profiles[1].taken_from = 22;
  spec.profiles[0].wrapped = store_path('3');
  spec.profiles[0].etc = "/nix/store/etc-1";
  spec.profiles[1].wrapped = store_path('4');
  spec.profiles[1].etc = "/nix/store/etc-2";
  spec.expected_running = store_path('5');
  spec.goal = Goal::kTest;
  spec.magic_rollback = true;
  spec.auto_rollback = true;
  spec.allow_no_rollback = true;
  spec.activation_timeout = Millis(123'000);
  spec.confirm_timeout = Millis(45'000);
  spec.health = full_policy();
  record.phase = Phase::kEnded;
  record.at = 1;
  record.back_from = Phase::kAwaitingConfirmation;
  record.times_driven_back = 3;
  record.before.running = store_path('6');
  record.before.profile = store_path('7');
  record.before.generation = 17;
  record.before.boot_id = "boot-1";
  record.before.failed_units = {"a.service", "b.service"};
  record.before.user_profiles = {{"home", {store_path('8'), 3, false}},
                                 {"tools", {store_path('9'), 4, false}}};
  record.before.etc = "/nix/store/etc-0";
  record.before.boot_default = store_path('a');
  record.before.leftovers = {"restart-list", "start-list"};
  record.before.jobs = {{"c.service", "restart"}, {"d.service", "stop"}};
  record.before.steady_units = {{"e.service", true}, {"f.service", true}};
  record.deadline = TimePoint(Millis(987'654));
  record.reason = "the reason";
  record.output = "the output";
  record.not_undone = "what is left";
  record.holder_stopped = true;
  record.outcome = Outcome::kRollbackFailed;
  record.started_unix_ms = 1'700'000'000'001;
  record.ended_unix_ms = 1'700'000'000'002;
  return record;
}

void expect_same(const ActivationSpec& read, const ActivationSpec& spec) {
  EXPECT_EQ(read.deployment, spec.deployment);
  EXPECT_EQ(read.nonce, spec.nonce);
  EXPECT_EQ(read.who, spec.who);
  EXPECT_EQ(read.revision, spec.revision);
  ASSERT_EQ(read.profiles.size(), spec.profiles.size());
  for (size_t i = 0; i < spec.profiles.size(); ++i) {
    EXPECT_EQ(read.profiles[i].name, spec.profiles[i].name);
    EXPECT_EQ(read.profiles[i].user, spec.profiles[i].user);
    EXPECT_EQ(read.profiles[i].path, spec.profiles[i].path);
    EXPECT_EQ(read.profiles[i].new_path, spec.profiles[i].new_path);
    EXPECT_EQ(read.profiles[i].has_activation, spec.profiles[i].has_activation);
    EXPECT_EQ(read.profiles[i].wrapped, spec.profiles[i].wrapped);
    EXPECT_EQ(read.profiles[i].etc, spec.profiles[i].etc);
    EXPECT_EQ(read.profiles[i].needs_activation, spec.profiles[i].needs_activation);
    EXPECT_EQ(read.profiles[i].taken_from, spec.profiles[i].taken_from);
  }
  EXPECT_EQ(read.expected_running, spec.expected_running);
  EXPECT_EQ(read.goal, spec.goal);
  EXPECT_EQ(read.magic_rollback, spec.magic_rollback);
  EXPECT_EQ(read.auto_rollback, spec.auto_rollback);
  EXPECT_EQ(read.allow_no_rollback, spec.allow_no_rollback);
  EXPECT_EQ(read.activation_timeout, spec.activation_timeout);
  EXPECT_EQ(read.confirm_timeout, spec.confirm_timeout);
  EXPECT_EQ(read.health, spec.health);
}

void expect_same(const SystemState& read, const SystemState& state) {
  EXPECT_EQ(read.running, state.running);
  EXPECT_EQ(read.profile, state.profile);
  EXPECT_EQ(read.generation, state.generation);
  EXPECT_EQ(read.boot_id, state.boot_id);
  EXPECT_EQ(read.failed_units, state.failed_units);
  EXPECT_EQ(read.user_profiles, state.user_profiles);
  EXPECT_EQ(read.etc, state.etc);
  EXPECT_EQ(read.boot_default, state.boot_default);
  EXPECT_EQ(read.leftovers, state.leftovers);
  EXPECT_EQ(read.jobs, state.jobs);
  EXPECT_EQ(read.steady_units, state.steady_units);
}

void expect_round_trip(const ActivationRecord& record) {
  const auto read = decode_record(encode_record(record));
  ASSERT_TRUE(read) << read.error().message;
  expect_same(read->spec, record.spec);
  expect_same(read->before, record.before);
  EXPECT_EQ(read->phase, record.phase);
  EXPECT_EQ(read->at, record.at);
  EXPECT_EQ(read->back_from, record.back_from);
  EXPECT_EQ(read->times_driven_back, record.times_driven_back);
  EXPECT_EQ(read->deadline, record.deadline);
  EXPECT_EQ(read->reason, record.reason);
  EXPECT_EQ(read->output, record.output);
  EXPECT_EQ(read->not_undone, record.not_undone);
  EXPECT_EQ(read->holder_stopped, record.holder_stopped);
  EXPECT_EQ(read->outcome, record.outcome);
  EXPECT_EQ(read->started_unix_ms, record.started_unix_ms);
  EXPECT_EQ(read->ended_unix_ms, record.ended_unix_ms);
}

// A field that is added to the message must be set above, or this test fails.
TEST(RoundTrip, TheRecordOfThisTestLeavesNoFieldAtItsDefault) {
  v1::JournalRecord message;
  wire::to_proto(full_record(), message);
  EXPECT_EQ(unset(message), std::vector<std::string>{});
}

TEST(RoundTrip, NoFieldOfARecordIsLostOrTakenForAnother) { expect_round_trip(full_record()); }

TEST(RoundTrip, ReadAndWrittenAgainItIsTheSameMessage) {
  v1::JournalRecord before;
  wire::to_proto(full_record(), before);
  const auto read = wire::from_proto(before);
  ASSERT_TRUE(read) << read.error().message;
  v1::JournalRecord after;
  wire::to_proto(*read, after);
  EXPECT_TRUE(google::protobuf::util::MessageDifferencer::Equals(before, after)) << after.DebugString();
}

// Yes and no both arrive, each for itself.
TEST(RoundTrip, EachSwitchIsItsOwn) {
  bool ActivationSpec::*const switches[] = {&ActivationSpec::magic_rollback, &ActivationSpec::auto_rollback,
                                            &ActivationSpec::allow_no_rollback};
  for (const auto off : switches) {
    auto record = full_record();
    record.spec.*off = false;
    expect_round_trip(record);
  }
  auto running = full_record();
  running.spec.profiles[0].has_activation = true;
  running.holder_stopped = false;
  running.before.steady_units[0].may_end = false;
  expect_round_trip(running);
}

TEST(RoundTrip, EveryGoalPhaseAndOutcomeIsItself) {
  for (const Goal goal : {Goal::kSwitch, Goal::kTest, Goal::kBoot, Goal::kDryActivate}) {
    auto record = full_record();
    record.spec.goal = goal;
    expect_round_trip(record);
  }
  for (int phase = 0; phase < static_cast<int>(Phase::kEnded); ++phase) {
    auto record = full_record();
    record.phase = static_cast<Phase>(phase);
    record.outcome.reset();
    record.back_from = static_cast<Phase>(phase);
    expect_round_trip(record);
  }
  for (const Outcome outcome :
       {Outcome::kUnchanged, Outcome::kSucceeded, Outcome::kStaged, Outcome::kFailedUnchanged,
        Outcome::kRolledBack, Outcome::kRollbackFailed, Outcome::kSuperseded}) {
    auto record = full_record();
    record.outcome = outcome;
    expect_round_trip(record);
  }
}

TEST(RoundTrip, APolicyKeepsWhatIsOnlyWantedAndHowFailedUnitsCount) {
  for (const FailedUnits units : {FailedUnits::kNew, FailedUnits::kAny, FailedUnits::kIgnore}) {
    auto record = full_record();
    record.spec.health.failed_units = units;
    record.spec.health.checks[1].severity = Severity::kWanted;
    std::get<HttpCheck>(record.spec.health.checks[0].kind).insecure_tls = false;
    expect_round_trip(record);
  }
}

TEST(RoundTrip, WhatIsNotKnownStaysUnknown) {
  auto record = full_record();
  record.spec.expected_running.reset();
  record.spec.profiles[0].wrapped.reset();
  record.spec.profiles[0].etc.reset();
  record.before.running.reset();
  record.before.profile.reset();
  record.before.generation.reset();
  record.before.etc.reset();
  record.before.boot_default.reset();
  record.before.user_profiles["home"] = {};
  record.back_from.reset();
  expect_round_trip(record);
}

TEST(RoundTrip, TheSystemIsRootsAndHasAPath) {
  auto record = full_record();
  record.spec.profiles[0] = system_profile(store_path('1'));
  expect_round_trip(record);
  record.spec.profiles[0].user = "alice";
  EXPECT_FALSE(decode_record(encode_record(record)));
  record.spec.profiles[0] = system_profile(store_path('1'));
  record.spec.profiles[0].path.clear();
  EXPECT_FALSE(decode_record(encode_record(record)));
}

Observation full_observation() {
  return {.revision = 42, .record = full_record(), .remaining = Millis(4321), .health = {"site: HTTP 500"}};
}

TEST(Observed, NoFieldIsLeftAtItsDefault) {
  v1::Observation out;
  to_proto(full_observation(), out);
  EXPECT_EQ(unset(out), std::vector<std::string>{});
}

TEST(Observed, EachFieldIsTheRecords) {
  v1::Observation out;
  to_proto(full_observation(), out);
  EXPECT_TRUE(out.known());
  EXPECT_EQ(out.deployment(), "01ARYZ6S41TSV4RRFFQ69G5FAV");
  EXPECT_EQ(out.revision(), 42u);
  EXPECT_EQ(out.phase(), v1::PHASE_ENDED);
  EXPECT_EQ(out.back_from(), v1::PHASE_AWAITING_CONFIRMATION);
  EXPECT_EQ(out.outcome(), "rollback-failed");
  EXPECT_EQ(out.reason(), "the reason");
  EXPECT_EQ(out.output(), "the output");
  EXPECT_EQ(out.remaining_ms(), 4321u);
  ASSERT_EQ(out.health_size(), 1);
  EXPECT_EQ(out.health(0), "site: HTTP 500");
  EXPECT_EQ(out.who(), "alice@laptop");
  EXPECT_EQ(out.flake_revision(), "4fafbb0");
  EXPECT_EQ(out.from_path(), store_path('8').str()) << "of the first profile, as no system is deployed";
  EXPECT_EQ(out.to_path(), store_path('1').str());
  EXPECT_EQ(out.goal(), "test");
  EXPECT_EQ(out.started_unix_ms(), 1'700'000'000'001);
  EXPECT_EQ(out.ended_unix_ms(), 1'700'000'000'002);
}

TEST(Observed, TheSystemStandsForTheHostWhereverItIsInTheOrder) {
  auto observation = full_observation();
  observation.record.spec.profiles.push_back(system_profile(store_path('b')));
  v1::Observation out;
  to_proto(observation, out);
  EXPECT_EQ(out.from_path(), store_path('6').str()) << "what ran, not what the profile named";
  EXPECT_EQ(out.to_path(), store_path('b').str());
}

TEST(Observed, ATimeThatHasPassedIsNone) {
  auto observation = full_observation();
  observation.remaining = Millis(-5);
  v1::Observation out;
  to_proto(observation, out);
  EXPECT_EQ(out.remaining_ms(), 0u);
}

TEST(Inspected, EachFieldIsTheHosts) {
  HostFacts facts;
  facts.state = full_record().before;
  facts.wrapped = store_path('c');
  facts.system = "aarch64-linux";
  facts.unix_ms = 1'700'000'000'000;
  facts.store_free_bytes = 12'345;
  facts.generations = {{5, store_path('d').str(), 99}};
  facts.booted = store_path('f').str();
  facts.reboot_needed = true;
  facts.system_running = "degraded";
  v1::InspectReply out;
  to_proto(facts, out);
  const auto state = wire::from_proto(out.state());
  ASSERT_TRUE(state) << state.error().message;
  expect_same(*state, facts.state);
  EXPECT_EQ(out.wrapped(), facts.wrapped->str());
  EXPECT_EQ(out.system(), "aarch64-linux");
  EXPECT_EQ(out.unix_ms(), 1'700'000'000'000);
  EXPECT_EQ(out.store_free_bytes(), 12'345u);
  ASSERT_EQ(out.generations_size(), 1);
  EXPECT_EQ(out.generations(0).number(), 5u);
  EXPECT_EQ(out.generations(0).path(), store_path('d').str());
  EXPECT_EQ(out.generations(0).created_unix_ms(), 99);
  EXPECT_EQ(out.booted(), store_path('f').str());
  EXPECT_TRUE(out.reboot_needed());
  EXPECT_EQ(out.system_running(), "degraded");
}

}  // namespace
}  // namespace flurry::agent
