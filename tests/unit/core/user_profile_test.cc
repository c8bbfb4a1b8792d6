#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "core/activation.h"

// A deployment of a system and of users' profiles: one outcome, and one way back.

namespace flurry {
namespace {

StorePath path(const std::string& name) {
  return *StorePath::parse("/nix/store/" + std::string(32, '0') + "-" + name);
}

// Does at once what the machine asks for, and writes down in which order.
struct Host {
  SystemState state{.running = path("sys-old"),
                    .profile = path("sys-old"),
                    .generation = 7,
                    .boot_id = "boot-1",
                    .failed_units = {},
                    .user_profiles = {{"alice", {path("home-old"), 3}}, {"ops", {path("ops-old"), 5}}}};
  std::vector<std::string> calls;
  std::string fails;  // the call of this name
  std::string hangs;  // a RunSwitch of this name
  bool is_healthy = true;
  std::optional<StorePath> runs_instead;  // of sys-new
  std::optional<ActivationRecord> journal;
  std::function<bool(const ActivationRecord&)> crash = [](const auto&) { return false; };
  bool is_crashed = false;
  std::vector<std::string> attachable;

  std::optional<EffectValue> run(const ActivationSpec& spec, const effect::RunSwitch& what) {
    constexpr const char* kNames[] = {"test", "boot", "dry", "activate"};
    const std::string call =
        std::string(kNames[static_cast<int>(what.action)]) + " " + std::string(what.closure.name());
    if (what.attach && std::find(attachable.begin(), attachable.end(), call) == attachable.end()) {
      calls.push_back("lost " + call);
      return SwitchExit{std::nullopt, ""};
    }
    calls.push_back(call);
    if (call == hangs) return std::nullopt;
    if (call == fails) return SwitchExit{3, "no"};
    const bool is_new = what.closure == path("sys-new");
    if (what.action == effect::SwitchAction::kTest)
      state.running = is_new && runs_instead ? *runs_instead : what.closure;
    const bool is_system = spec.profiles.at(what.profile).is_system();
    EXPECT_TRUE(is_system || what.action != effect::SwitchAction::kTest);
    EXPECT_TRUE(!is_system || what.action != effect::SwitchAction::kActivate);
    return SwitchExit{0, ""};
  }

  std::optional<Result<EffectValue>> perform(const ActivationSpec& spec, const effect::Any& what) {
    if (std::holds_alternative<effect::ReadState>(what)) return EffectValue{state};
    if (std::holds_alternative<effect::RunCheck>(what)) return EffectValue{CheckResult{is_healthy, "down"}};
    if (const auto* run_switch = std::get_if<effect::RunSwitch>(&what)) {
      auto value = run(spec, *run_switch);
      if (!value) return std::nullopt;
      return *std::move(value);
    }
    if (const auto* write = std::get_if<effect::WriteJournal>(&what)) {
      journal = write->record;
      is_crashed = crash(*journal);
    }
    if (const auto* set = std::get_if<effect::SetProfile>(&what)) {
      const std::string call = "set " + std::string(set->path.name());
      calls.push_back(call);
      if (call == fails) return Result<EffectValue>(Error{ErrorKind::kFailed, "nix-env: no"});
      const ProfileSpec& profile = spec.profiles.at(set->profile);
      if (profile.is_system()) {
        state.profile = set->path;
        state.generation = 8;
      } else {
        state.user_profiles[profile.name] = {set->path, 9};
      }
    }
    if (const auto* restore = std::get_if<effect::RestoreProfile>(&what)) {
      const ProfileSpec& profile = spec.profiles.at(restore->profile);
      calls.push_back("restore " + profile.name);
      const ProfileState before = profile_state(journal->before, profile);
      EXPECT_EQ(before.generation, restore->generation);
      if (profile.is_system()) {
        state.profile = before.path;
        state.generation = before.generation;
      } else {
        state.user_profiles[profile.name] = before;
      }
    }
    return EffectValue{};
  }

  ActivationRecord drive(Activation machine) {
    TimePoint now{Millis(1'000'000)};
    std::vector<ActivationInput> inputs;
    for (int turn = 0; turn < 10'000 && !machine.is_finished(); ++turn) {
      const auto effects = machine.step(now, std::exchange(inputs, {}));
      for (const auto& effect : effects) {
        auto ended = perform(machine.record().spec, effect.what);
        if (is_crashed) return *journal;
        if (ended) inputs.emplace_back(EffectEnded{effect.id, *std::move(ended)});
      }
      const bool is_waiting = machine.record().phase == Phase::kAwaitingConfirmation && effects.empty();
      if (is_waiting) inputs.emplace_back(ConfirmReceived{machine.record().spec.nonce});
      if (inputs.empty() && machine.next_wakeup()) now = std::max(*machine.next_wakeup(), now + Millis(1));
    }
    EXPECT_TRUE(machine.is_finished());
    return machine.record();
  }

  bool is_as_before() const {
    const SystemState before = Host{}.state;
    return state.running == before.running && state.profile == before.profile &&
           state.user_profiles == before.user_profiles;
  }
  std::string all_calls() const {
    std::string out;
    for (const auto& call : calls) out += call + "; ";
    return out;
  }
};

ActivationSpec spec_of(Goal goal = Goal::kSwitch) {
  ActivationSpec spec{
      .deployment = *DeploymentId::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV"),
      .nonce = std::string(32, 'a'),
      .profiles = {system_profile(path("sys-new")),
                   {{"alice", "alice", "/home/alice/profile"}, path("home-new")},
                   {{"ops", "root", "/nix/var/nix/profiles/per-user/root/ops"}, path("ops-new")}}};
  spec.goal = goal;
  spec.health.checks.push_back({.name = "site", .kind = UnitCheck{"site.service"}});
  return spec;
}

TEST(UserProfiles, AreSetThenActivatedAfterTheSystemAndCommittedWithIt) {
  Host host;
  const auto record = host.drive(Activation::begin(spec_of(), 1));
  EXPECT_EQ(record.outcome, Outcome::kSucceeded) << record.reason;
  EXPECT_EQ(host.all_calls(),
            "test sys-new; set home-new; activate home-new; set ops-new; activate ops-new; "
            "set sys-new; set home-new; set ops-new; boot sys-new; ");
}

TEST(UserProfiles, ThatAreAsTheyShallBeAreLeftAlone) {
  Host host;
  host.state.user_profiles["alice"].path = path("home-new");
  host.state.running = host.state.profile = path("sys-new");
  const auto record = host.drive(Activation::begin(spec_of(), 1));
  EXPECT_EQ(record.outcome, Outcome::kSucceeded) << record.reason;
  EXPECT_EQ(host.all_calls(), "set ops-new; activate ops-new; set ops-new; ");
}

TEST(UserProfiles, OneThatFailsTakesAllBackTheSystemFirst) {
  Host host;
  host.fails = "activate home-new";
  const auto record = host.drive(Activation::begin(spec_of(), 1));
  EXPECT_EQ(record.outcome, Outcome::kRolledBack);
  EXPECT_NE(record.reason.find("profile alice: its activation exited with 3"), std::string::npos)
      << record.reason;
  EXPECT_TRUE(host.is_as_before());
  EXPECT_EQ(host.all_calls(),
            "test sys-new; set home-new; activate home-new; test sys-old; restore alice; activate home-old; ")
      << "ops was never touched";
}

TEST(UserProfiles, OneThatCannotBeSetTakesAllBack) {
  Host host;
  host.fails = "set home-new";
  const auto record = host.drive(Activation::begin(spec_of(), 1));
  EXPECT_EQ(record.outcome, Outcome::kRolledBack);
  EXPECT_TRUE(host.is_as_before());
}

TEST(UserProfiles, GoBackWithAnUnhealthySystem) {
  Host host;
  host.is_healthy = false;
  const auto record = host.drive(Activation::begin(spec_of(), 1));
  EXPECT_EQ(record.outcome, Outcome::kRolledBack);
  EXPECT_TRUE(host.is_as_before());
}

TEST(UserProfiles, WhoseRecordedActivationFailsAreNotCalledRolledBack) {
  Host host;
  host.is_healthy = false;
  host.fails = "activate home-old";
  const auto record = host.drive(Activation::begin(spec_of(), 1));
  EXPECT_EQ(record.outcome, Outcome::kRollbackFailed);
  EXPECT_NE(record.reason.find("profile alice: the activation of its recorded generation exited with 3"),
            std::string::npos)
      << record.reason;
  EXPECT_EQ(host.state.running, path("sys-old")) << "the system is back all the same";
}

TEST(UserProfiles, AnActivationThatHangsIsStoppedAndTakesAllBack) {
  Host host;
  host.hangs = "activate ops-new";
  const auto record = host.drive(Activation::begin(spec_of(), 1));
  EXPECT_EQ(record.outcome, Outcome::kRolledBack) << record.reason;
  EXPECT_TRUE(host.is_as_before());
}

TEST(UserProfiles, WithNothingToGoBackToNeedTheUsersWord) {
  Host host;
  host.state.user_profiles.erase("alice");
  auto spec = spec_of();
  auto record = host.drive(Activation::begin(spec, 1));
  EXPECT_EQ(record.outcome, Outcome::kFailedUnchanged);
  EXPECT_NE(record.reason.find("profile alice"), std::string::npos) << record.reason;
  EXPECT_NE(record.reason.find("--allow-no-rollback"), std::string::npos) << record.reason;
  EXPECT_TRUE(host.calls.empty());

  spec.profiles[1].has_activation = false;  // a program that nobody starts is gone with its link
  host.is_healthy = false;
  record = host.drive(Activation::begin(spec, 1));
  EXPECT_EQ(record.outcome, Outcome::kRolledBack);
  EXPECT_FALSE(host.state.user_profiles.at("alice").path);
}

TEST(UserProfiles, ANewOneThatWasAllowedAndFailsIsNotCalledRolledBack) {
  Host host;
  host.state.user_profiles.erase("alice");
  host.is_healthy = false;
  auto spec = spec_of();
  spec.allow_no_rollback = true;
  const auto record = host.drive(Activation::begin(spec, 1));
  EXPECT_EQ(record.outcome, Outcome::kRollbackFailed);
  EXPECT_NE(record.reason.find("what its activation did is still there"), std::string::npos) << record.reason;
  EXPECT_EQ(host.state.running, path("sys-old"));
  EXPECT_FALSE(host.state.user_profiles.at("alice").path);
}

TEST(UserProfiles, ANewOneThatCouldNotEvenBeSetLeavesNothingBehind) {
  Host host;
  host.state.user_profiles.erase("alice");
  host.fails = "set home-new";
  auto spec = spec_of();
  spec.allow_no_rollback = true;
  const auto record = host.drive(Activation::begin(spec, 1));
  EXPECT_EQ(record.outcome, Outcome::kRolledBack) << record.reason;
}

TEST(UserProfiles, ATestLeavesThemAloneAndSaysSo) {
  Host host;
  const auto record = host.drive(Activation::begin(spec_of(Goal::kTest), 1));
  EXPECT_EQ(record.outcome, Outcome::kSucceeded);
  EXPECT_EQ(host.all_calls(), "test sys-new; ");
  EXPECT_NE(record.output.find("alice, ops"), std::string::npos) << record.output;
}

TEST(UserProfiles, ADryActivationAsksEachOne) {
  Host host;
  const auto record = host.drive(Activation::begin(spec_of(Goal::kDryActivate), 1));
  EXPECT_EQ(record.outcome, Outcome::kStaged);
  EXPECT_EQ(host.all_calls(), "dry sys-new; dry home-new; dry ops-new; ");
}

TEST(UserProfiles, ThatTheLinkNamesAndThatWereNeverActivatedAreActivated) {
  Host host;
  host.state.running = host.state.profile = path("sys-new");
  host.state.user_profiles = {{"alice", {path("home-new"), 3, false}}, {"ops", {path("ops-new"), 5}}};
  auto spec = spec_of();
  const auto record = host.drive(Activation::begin(spec, 1));
  EXPECT_EQ(record.outcome, Outcome::kSucceeded) << record.reason;
  EXPECT_EQ(host.all_calls(), "set home-new; activate home-new; set home-new; ");

  host.calls.clear();
  host.state.user_profiles["alice"].is_activated = false;
  spec.profiles[1].has_activation = false;  // there is nothing to run
  EXPECT_EQ(host.drive(Activation::begin(spec, 1)).outcome, Outcome::kUnchanged);
}

TEST(UserProfiles, AGoalOfBootSetsThemWithoutActivating) {
  Host host;
  const auto record = host.drive(Activation::begin(spec_of(Goal::kBoot), 1));
  EXPECT_EQ(record.outcome, Outcome::kStaged);
  EXPECT_EQ(host.all_calls(),
            "set sys-new; set home-new; set ops-new; boot sys-new; boot home-new; boot ops-new; ");
}

TEST(UserProfiles, AnAgentThatTheSwitchRestartedGoesOnWithTheProfileItWasAt) {
  Host host;
  host.crash = [](const ActivationRecord& record) {
    return record.phase == Phase::kSwitching && record.at == 1;
  };
  host.drive(Activation::begin(spec_of(), 1));
  host.crash = [](const auto&) { return false; };
  host.is_crashed = false;
  host.attachable = {"activate home-new"};
  const auto record = host.drive(Activation::recover(*host.journal, "boot-1"));
  EXPECT_EQ(record.outcome, Outcome::kSucceeded) << record.reason;
  EXPECT_EQ(std::count(host.calls.begin(), host.calls.end(), "test sys-new"), 1);
}

TEST(UserProfiles, ARebootInTheMiddleTakesThemBackToo) {
  for (const Phase phase : {Phase::kSwitching, Phase::kChecking, Phase::kAwaitingConfirmation}) {
    Host host;
    host.crash = [phase](const ActivationRecord& record) {
      return record.phase == phase && (phase != Phase::kSwitching || record.at == 2);
    };
    host.drive(Activation::begin(spec_of(), 1));
    host.crash = [](const auto&) { return false; };
    host.is_crashed = false;
    host.state.running = path("sys-old");
    host.state.boot_id = "boot-2";
    host.calls.clear();
    const auto record = host.drive(Activation::recover(*host.journal, "boot-2"));
    EXPECT_EQ(record.outcome, Outcome::kRolledBack) << to_string(phase) << ": " << record.reason;
    EXPECT_TRUE(host.is_as_before()) << to_string(phase);
    EXPECT_EQ(host.all_calls().find("test"), std::string::npos) << "the boot has brought the system back";
  }
}

// deploy-rs's activate.nixos: what is deployed has the system in it, and that is what runs.
TEST(WrappedSystem, IsCommittedWhenTheSystemInItRuns) {
  Host host;
  auto spec = spec_of();
  spec.profiles.erase(spec.profiles.begin() + 1, spec.profiles.end());
  spec.profiles[0].wrapped = path("sys-inner");
  host.runs_instead = path("sys-inner");
  auto record = host.drive(Activation::begin(spec, 1));
  EXPECT_EQ(record.outcome, Outcome::kSucceeded) << record.reason;
  EXPECT_EQ(host.state.profile, path("sys-new"));
  record = host.drive(Activation::begin(spec, 1));
  EXPECT_EQ(record.outcome, Outcome::kUnchanged);
}

TEST(UserProfiles, OfAHostWithoutANixosSystemStandAlone) {
  Host host;
  host.state.running = host.state.profile = std::nullopt;
  host.state.generation = std::nullopt;
  auto spec = spec_of();
  spec.profiles.erase(spec.profiles.begin());
  auto record = host.drive(Activation::begin(spec, 1));
  EXPECT_EQ(record.outcome, Outcome::kSucceeded) << record.reason;
  EXPECT_EQ(host.all_calls(),
            "set home-new; activate home-new; set ops-new; activate ops-new; set home-new; set ops-new; ");
}

}  // namespace
}  // namespace flurry
