#include <gtest/gtest.h>

#include "core/activation.h"
#include "tests/unit/core/rollout_world.h"

// A host on which a switch was broken off: what runs and what the profile names look well.

namespace flurry {
namespace {

TEST(HalfSwitchedHost, IsDeployedAgainThoughTheClosureRunsAndIsCommitted) {
  World world(1);
  world.facts[0] = {.state = {.running = path('2'), .profile = path('2')}};
  world.facts[0].half_switched = "a switch was broken off: /etc is not of the system that runs";
  EXPECT_EQ(world.run()[0].outcome, Outcome::kSucceeded);
  EXPECT_TRUE(world.did("h1 begin"));
}

TEST(HalfSwitchedHost, IsAlsoOneWhoseBootLoaderNamesAnotherSystem) {
  World world(1);
  world.facts[0] = {.state = {.running = path('2'), .profile = path('2')}};
  world.facts[0].state.boot_default = path('1');
  EXPECT_EQ(world.run()[0].outcome, Outcome::kSucceeded);
  EXPECT_TRUE(world.did("h1 begin"));
}

// The agent decides by itself, from what it sees at the start.
TEST(HalfSwitchedHost, IsNotUnchangedForItsAgentEither) {
  const StorePath system = *StorePath::parse("/nix/store/11111111111111111111111111111111-new");
  ActivationSpec spec{.deployment = *DeploymentId::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV"),
                      .nonce = std::string(32, '0'),
                      .profiles = {system_profile(system)}};
  spec.profiles[0].etc = "/nix/store/11111111111111111111111111111111-etc/etc";
  SystemState whole{.running = system, .profile = system, .boot_id = "boot"};
  whole.etc = spec.profiles[0].etc;
  SystemState other_etc = whole;
  other_etc.etc = "/nix/store/00000000000000000000000000000000-etc/etc";
  SystemState lists = whole;
  lists.leftovers = {"restart-list"};
  for (const auto& [state, is_unchanged] : {std::pair(whole, true), {other_etc, false}, {lists, false}}) {
    Activation machine = Activation::begin(spec, 1);
    auto effects = machine.step(TimePoint(Millis(1)), {});
    ASSERT_EQ(effects.size(), 1u);
    machine.step(TimePoint(Millis(2)), {EffectEnded{effects[0].id, EffectValue{state}}});
    EXPECT_EQ(machine.record().outcome == Outcome::kUnchanged, is_unchanged);
  }
}

}  // namespace
}  // namespace flurry
