#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "core/activation.h"

// Somebody else makes the release under way the profile and the boot default, on a host whose going back the
// simulator found wrong.

namespace flurry {
namespace {

const StorePath kOld = *StorePath::parse("/nix/store/00000000000000000000000000000000-old");
const StorePath kNew = *StorePath::parse("/nix/store/11111111111111111111111111111111-new");

struct Host {
  SystemState state{.running = kOld, .profile = kOld, .generation = 7, .boot_id = "boot-1"};
  std::optional<int> exit = 1;  // of the switch to the new system, which does nothing
  bool commits = false;         // another hand does, while it runs
  StorePath booted = kOld;      // what the boot loader names, known or not
  std::optional<ActivationRecord> journal;
  bool is_profile_set_back = false;
  bool dies_then = false;

  EffectValue perform(const effect::Any& what) {
    if (std::holds_alternative<effect::ReadState>(what)) return state;
    if (const auto* write = std::get_if<effect::WriteJournal>(&what)) journal = write->record;
    if (std::holds_alternative<effect::RestoreProfile>(what)) {
      state.profile = kOld;
      state.generation = 7;
      is_profile_set_back = true;
    }
    const auto* run = std::get_if<effect::RunSwitch>(&what);
    if (!run) return {};
    if (run->action == effect::SwitchAction::kBoot) {
      booted = run->closure;
      if (state.boot_default) state.boot_default = booted;
      return SwitchExit{0, ""};
    }
    if (run->closure == kOld) return SwitchExit{0, ""};
    if (commits) {
      state.profile = booted = kNew;
      state.generation = 8;
      if (state.boot_default) state.boot_default = kNew;
    }
    return SwitchExit{exit, ""};
  }

  void drive(Activation& machine) {
    TimePoint now{Millis(1'000'000)};
    std::vector<ActivationInput> inputs;
    for (int turns = 0; turns < 10'000 && !machine.is_finished(); ++turns) {
      const auto effects = machine.step(now, std::exchange(inputs, {}));
      for (const auto& effect : effects) {
        inputs.emplace_back(EffectEnded{effect.id, perform(effect.what)});
        if (is_profile_set_back && std::exchange(dies_then, false)) return;
      }
      if (inputs.empty() && machine.next_wakeup()) now = std::max(*machine.next_wakeup(), now + Millis(1));
    }
  }
};

ActivationSpec spec() {
  return {.deployment = *DeploymentId::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV"),
          .nonce = "n",
          .who = "alice",
          .revision = "",
          .profiles = {system_profile(kNew)}};
}

TEST(AnotherHand, CommitsARefusedReleaseAndItIsTakenBack) {
  Host host;
  host.state.boot_default = kOld;
  host.commits = true;
  Activation machine = Activation::begin(spec(), 1);
  host.drive(machine);
  EXPECT_EQ(machine.record().outcome, Outcome::kRolledBack);
  EXPECT_EQ(host.state.profile, kOld);
  EXPECT_EQ(host.booted, kOld);
}

TEST(AnotherHand, WhereTheBootLoaderCantBeReadADeathBehindTheProfileLosesNothing) {
  Host host;
  host.commits = true;
  host.exit = 101;
  host.dies_then = true;
  Activation machine = Activation::begin(spec(), 1);
  host.drive(machine);
  ASSERT_TRUE(host.journal && !host.journal->outcome);
  Activation next = Activation::recover(*host.journal, "boot-1");
  host.drive(next);
  EXPECT_EQ(next.record().outcome, Outcome::kRolledBack);
  EXPECT_EQ(host.booted, kOld);
}

// It was confirmed, and somebody made what had run before, uncommitted, the profile and the boot default.
TEST(AnotherHand, WhereTheBootLoaderCantBeReadWhoSetsTheProfileHasInstalledIt) {
  const StorePath ran = *StorePath::parse("/nix/store/22222222222222222222222222222222-ran");
  Host host;
  host.state.running = host.state.profile = host.booted = ran;
  host.state.generation = 8;
  host.exit = 0;
  ActivationRecord record{.spec = spec()};
  record.phase = Phase::kConfirmed;
  record.before = {.running = ran, .profile = kOld, .generation = 7, .boot_id = "boot-1"};
  Activation machine = Activation::recover(record, "boot-1");
  host.drive(machine);
  EXPECT_EQ(machine.record().outcome, Outcome::kRolledBack);
  EXPECT_EQ(host.state.profile, kOld);
  EXPECT_EQ(host.booted, kOld);
}

}  // namespace
}  // namespace flurry
