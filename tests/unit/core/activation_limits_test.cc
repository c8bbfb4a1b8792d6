#include <gtest/gtest.h>

#include <algorithm>
#include <type_traits>
#include <utility>

#include "core/activation.h"

namespace flurry {
namespace {

const StorePath kOld = *StorePath::parse("/nix/store/00000000000000000000000000000000-old");
const StorePath kNew = *StorePath::parse("/nix/store/11111111111111111111111111111111-new");

ActivationSpec spec_of(Goal goal) {
  ActivationSpec spec{.deployment = *DeploymentId::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV"),
                      .nonce = "0123456789abcdef0123456789abcdef",
                      .who = "alice",
                      .revision = "",
                      .profiles = {system_profile(kNew)}};
  spec.goal = goal;
  spec.health.checks.push_back({.name = "site", .kind = UnitCheck{"site.service"}});
  return spec;
}

// Runs a machine on a host where effects of the kind `hangs` never end and, with `fails`, those of that
// kind fail. Nobody confirms. Returns the effects by kind.
std::vector<size_t> drive(Activation& machine, std::optional<size_t> hangs,
                          std::optional<size_t> fails = {}) {
  SystemState state{kOld, kOld, 7, "boot-1", {}};
  std::vector<size_t> kinds;
  std::vector<ActivationInput> inputs;
  TimePoint now{Millis(1'000'000)};
  for (int turn = 0; turn < 10'000 && !machine.is_finished(); ++turn) {
    const auto effects = machine.step(now, std::exchange(inputs, {}));
    for (const auto& effect : effects) {
      const size_t kind = effect.what.index();
      kinds.push_back(kind);
      if (hangs == kind) continue;
      EffectValue value;
      if (const auto* run = std::get_if<effect::RunSwitch>(&effect.what)) {
        if (run->action == effect::SwitchAction::kTest) state.running = run->closure;
        value = SwitchExit{0, ""};
      }
      if (std::holds_alternative<effect::ReadState>(effect.what)) value = state;
      if (std::holds_alternative<effect::RunCheck>(effect.what)) value = CheckResult{true, ""};
      if (const auto* set = std::get_if<effect::SetProfile>(&effect.what)) state.profile = set->path;
      if (std::holds_alternative<effect::RestoreProfile>(effect.what)) state.profile = kOld;
      if (fails == kind)
        inputs.emplace_back(EffectEnded{effect.id, Error{ErrorKind::kFailed, "no"}});
      else
        inputs.emplace_back(EffectEnded{effect.id, value});
    }
    if (!inputs.empty() || machine.is_finished()) continue;
    const auto wakeup = machine.next_wakeup();
    if (!wakeup) return kinds;
    now = std::max(*wakeup, now + Millis(1));
  }
  return kinds;
}

template <typename T>
size_t kind_of() {
  return effect::Any(T{}).index();
}

constexpr size_t kWriteJournal = 1;
static_assert(std::is_same_v<std::variant_alternative_t<kWriteJournal, effect::Any>, effect::WriteJournal>);

bool has(const std::vector<size_t>& kinds, size_t kind) {
  return std::find(kinds.begin(), kinds.end(), kind) != kinds.end();
}

TEST(ActivationLimits, NoEffectThatHangsIsWaitedForForEver) {
  for (const Goal goal : {Goal::kSwitch, Goal::kTest, Goal::kBoot, Goal::kDryActivate}) {
    for (const bool magic : {true, false}) {
      for (size_t kind = 0; kind < std::variant_size_v<effect::Any>; ++kind) {
        if (kind == kWriteJournal) continue;  // the driver does them at once
        auto spec = spec_of(goal);
        spec.magic_rollback = magic;
        Activation machine = Activation::begin(spec, 1);
        drive(machine, kind);
        EXPECT_TRUE(machine.is_finished()) << "effect " << kind << " for goal " << static_cast<int>(goal);
        EXPECT_TRUE(machine.record().outcome);
      }
    }
  }
}

// ReadState is what tells the truth at the end: without it nothing is called rolled back.
TEST(ActivationLimits, AHungLookAfterTheRollbackIsNotCalledRolledBack) {
  ActivationRecord record{.spec = spec_of(Goal::kSwitch)};
  record.before = SystemState{kOld, kOld, 7, "boot-1", {}};
  record.phase = Phase::kAwaitingConfirmation;
  Activation machine = Activation::recover(record, "boot-1");
  drive(machine, kind_of<effect::ReadState>());
  ASSERT_TRUE(machine.is_finished());
  EXPECT_EQ(machine.record().outcome, Outcome::kRollbackFailed);
}

// Its unit may still be switching: that must end before the outcome is said, not only before going back.
TEST(ActivationLimits, ALostSwitchIsStoppedEvenWhereNothingGoesBack) {
  const size_t run = effect::Any(effect::RunSwitch{kNew, {}, "", false}).index();
  ActivationRecord record{.spec = spec_of(Goal::kSwitch)};
  record.spec.auto_rollback = false;
  record.before = SystemState{kOld, kOld, 7, "boot-1", {}};
  record.phase = Phase::kSwitching;
  record.deadline = TimePoint(Millis(2'000'000));
  Activation failed = Activation::recover(record, "boot-1");
  const auto kinds = drive(failed, std::nullopt, run);
  EXPECT_TRUE(has(kinds, kind_of<effect::StopSwitch>())) << "the wait for it failed";
  EXPECT_EQ(std::count(kinds.begin(), kinds.end(), run), 1) << "it went back";
  EXPECT_EQ(failed.record().outcome, Outcome::kRollbackFailed);

  Activation lost = Activation::recover(record, "boot-1");
  std::vector<Effect> effects = lost.step(TimePoint(Millis(1)), {});
  ASSERT_TRUE(std::holds_alternative<effect::ArmDeadman>(effects.at(0).what));
  effects = lost.step(TimePoint(Millis(1)), {EffectEnded{effects.at(0).id, EffectValue{}}});
  effects = lost.step(TimePoint(Millis(2)), {EffectEnded{effects.at(0).id, EffectValue(SwitchExit{})}});
  ASSERT_EQ(effects.size(), 1u);
  EXPECT_TRUE(std::holds_alternative<effect::StopSwitch>(effects[0].what)) << "it was killed";
}

TEST(ActivationLimits, AWindowThatIsTakenUpAgainHasADeadmanOrIsGivenUp) {
  for (const Phase phase : {Phase::kSwitching, Phase::kChecking, Phase::kAwaitingConfirmation}) {
    ActivationRecord record{.spec = spec_of(Goal::kSwitch)};
    record.before = SystemState{kOld, kOld, 7, "boot-1", {}};
    record.phase = phase;
    record.holder_stopped = true;
    record.deadline = TimePoint(Millis(2'000'000));
    Activation machine = Activation::recover(record, "boot-1");
    auto effects = machine.step(TimePoint(Millis(1)), {});
    ASSERT_EQ(effects.size(), 1u) << to_string(phase);
    ASSERT_TRUE(std::holds_alternative<effect::ArmDeadman>(effects[0].what)) << to_string(phase);
    const Error refused{ErrorKind::kFailed, "systemd is busy"};
    effects = machine.step(TimePoint(Millis(2)), {EffectEnded{effects[0].id, refused}});
    ASSERT_EQ(effects.size(), 1u) << to_string(phase);
    const auto* write = std::get_if<effect::WriteJournal>(&effects[0].what);
    ASSERT_TRUE(write) << to_string(phase);
    EXPECT_EQ(write->record.phase, Phase::kRollingBack) << to_string(phase);
  }
}

TEST(ActivationLimits, AWayBackThatLacksResourcesIsTriedAgainAndKeepsItsDeadman) {
  ActivationRecord record{.spec = spec_of(Goal::kSwitch)};
  record.before = SystemState{kOld, kOld, 7, "boot-1", {}};
  record.phase = Phase::kRollingBack;
  record.back_from = Phase::kChecking;
  Activation machine = Activation::recover(record, "boot-1");
  TimePoint now{Millis(1)};
  std::vector<ActivationInput> inputs;
  int refusals = 30;
  int switches = 0;
  for (int turn = 0; turn < 1000 && !machine.is_finished(); ++turn) {
    const auto effects = machine.step(now, std::exchange(inputs, {}));
    for (const auto& effect : effects) {
      Result<EffectValue> result = EffectValue{};
      if (std::holds_alternative<effect::ReadState>(effect.what))
        result = EffectValue{SystemState{kOld, kOld, 7, "boot-1", {}}};
      if (std::holds_alternative<effect::RunSwitch>(effect.what)) {
        const bool is_refused = refusals-- > 0;
        if (is_refused) result = Error{ErrorKind::kExhausted, "too many open files"};
        if (!is_refused) result = EffectValue{SwitchExit{0, ""}};
        switches += !is_refused;
      }
      EXPECT_FALSE(std::holds_alternative<effect::DisarmDeadman>(effect.what) && refusals > 0);
      inputs.emplace_back(EffectEnded{effect.id, result});
    }
    if (inputs.empty() && machine.next_wakeup()) now = std::max(now, *machine.next_wakeup());
  }
  EXPECT_EQ(machine.record().outcome, Outcome::kRolledBack) << machine.record().reason;
  EXPECT_EQ(switches, 1);
}

// What is back is not called a failed rollback because nobody could open a file to see it.
TEST(ActivationLimits, AProofThatLacksResourcesIsLookedForAgain) {
  ActivationRecord record{.spec = spec_of(Goal::kSwitch)};
  record.before = SystemState{kOld, kOld, 7, "boot-1", {}};
  record.phase = Phase::kRollingBack;
  record.back_from = Phase::kChecking;
  Activation machine = Activation::recover(record, "boot-1");
  TimePoint now{Millis(1)};
  std::vector<ActivationInput> inputs;
  std::optional<TimePoint> back_at;
  for (int turn = 0; turn < 1000 && !machine.is_finished(); ++turn) {
    const auto effects = machine.step(now, std::exchange(inputs, {}));
    for (const auto& effect : effects) {
      Result<EffectValue> result = EffectValue{};
      if (std::holds_alternative<effect::RunSwitch>(effect.what)) {
        back_at = now;
        result = EffectValue{SwitchExit{0, ""}};
      }
      // For longer than units are given to settle.
      const bool is_short = back_at && now < *back_at + Millis(25'000);
      if (std::holds_alternative<effect::ReadState>(effect.what) && is_short)
        result = Error{ErrorKind::kExhausted, "too many open files"};
      else if (std::holds_alternative<effect::ReadState>(effect.what))
        result = EffectValue{SystemState{kOld, kOld, 7, "boot-1", {}}};
      inputs.emplace_back(EffectEnded{effect.id, result});
    }
    if (inputs.empty() && machine.next_wakeup()) now = std::max(now, *machine.next_wakeup());
  }
  EXPECT_EQ(machine.record().outcome, Outcome::kRolledBack) << machine.record().reason;
}

TEST(ActivationLimits, ADryActivationThatHangsIsStoppedAndTouchesNothing) {
  Activation machine = Activation::begin(spec_of(Goal::kDryActivate), 1);
  const size_t run = effect::Any(effect::RunSwitch{kNew, {}, "", false}).index();
  const auto kinds = drive(machine, run);
  EXPECT_TRUE(has(kinds, kind_of<effect::StopSwitch>()));
  EXPECT_FALSE(has(kinds, kWriteJournal));
  EXPECT_EQ(machine.record().outcome, Outcome::kFailedUnchanged);
}

TEST(ActivationLimits, ADryActivationThatCannotStartSwitchesNothing) {
  Activation machine = Activation::begin(spec_of(Goal::kDryActivate), 1);
  const size_t run = effect::Any(effect::RunSwitch{kNew, {}, "", false}).index();
  const auto kinds = drive(machine, std::nullopt, run);
  EXPECT_EQ(std::count(kinds.begin(), kinds.end(), run), 1) << "it went back from what never was";
  EXPECT_EQ(machine.record().outcome, Outcome::kFailedUnchanged);
}

}  // namespace
}  // namespace flurry
