#include "agent/housekeeping.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/unit/agent/fake_system.h"
#include "tests/unit/agent/temp_dir.h"

namespace flurry::agent {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFirst = "01ARZ3NDEKTSV4RRFFQ69G5FA1";
constexpr const char* kSecond = "01ARZ3NDEKTSV4RRFFQ69G5FA2";
constexpr const char* kIncoming = "-7rjqb838snvvxcmpvck1smfxhkwzqal5-incoming";
// As NixosSystem::hold_roots and the import name them.
constexpr const char* kRootsOfADeployment[] = {"-new",     "-new-home",     "-before",
                                               "-profile", "-profile-home", kIncoming};
const auto kToday = std::chrono::system_clock::now();
const auto kTomorrow = kToday + std::chrono::hours(25);

TEST(Housekeeping, ForgetsIncomingRootsThatNobodyActivated) {
  const TempDir dir;
  const Paths paths{dir.str()};
  const fs::path roots = paths.gc_roots();
  fs::create_directories(roots);
  const auto link = [&](const std::string& name) { fs::create_symlink("/nix/store/gone", roots / name); };
  link(std::string(kFirst) + kIncoming);
  link(std::string(kSecond) + kIncoming);
  link(std::string(kSecond) + "-new-home");
  link("someone-incoming");

  forget_stale_incoming(paths, kToday);
  EXPECT_TRUE(fs::is_symlink(roots / (std::string(kFirst) + kIncoming))) << "it is not stale yet";

  forget_stale_incoming(paths, kTomorrow);
  EXPECT_FALSE(fs::is_symlink(roots / (std::string(kFirst) + kIncoming)));
  EXPECT_TRUE(fs::is_symlink(roots / (std::string(kSecond) + kIncoming))) << "its deployment is active";
  EXPECT_TRUE(fs::is_symlink(roots / "someone-incoming")) << "not ours";
}

TEST(Housekeeping, ForgetsTheRootsOfDeploymentsThatEnded) {
  const TempDir dir;
  const Paths paths{dir.str()};
  const fs::path roots = paths.gc_roots();
  fs::create_directories(roots);
  FileJournal journal(paths.journals());
  const auto hold = [&](const char* id, Phase phase) {
    ActivationRecord record{.spec = test_spec()};
    record.spec.deployment = *DeploymentId::parse(id);
    record.before = FakeSystem().state();
    record.phase = phase;
    if (phase == Phase::kEnded) record.outcome = Outcome::kSucceeded;
    EXPECT_TRUE(journal.write(record));
    for (const char* which : kRootsOfADeployment)
      fs::create_symlink("/nix/store/gone", roots / (std::string(id) + which));
  };
  hold(kFirst, Phase::kEnded);
  hold(kSecond, Phase::kRollingBack);
  fs::create_symlink("/nix/store/gone", roots / "someone-new");

  forget_ended_roots(paths, journal);
  for (const char* which : kRootsOfADeployment) {
    EXPECT_FALSE(fs::is_symlink(roots / (std::string(kFirst) + which)));
    EXPECT_TRUE(fs::is_symlink(roots / (std::string(kSecond) + which))) << "its rollback needs it";
  }
  EXPECT_TRUE(fs::is_symlink(roots / "someone-new")) << "not ours";
}

TEST(Housekeeping, ForgetsAgentsThatNobodyRuns) {
  const TempDir dir;
  const Paths paths{dir.str()};
  const auto bring = [&](char digit) {
    const fs::path directory = fs::path(paths.agents()) / std::string(64, digit);
    fs::create_directories(directory);
    std::ofstream(directory / "flurry-agent") << "program";
    return directory;
  };
  const fs::path ours = bring('a');
  const fs::path old = bring('b');
  fs::create_directories(fs::path(paths.agents()) / "notes");

  forget_old_agents(paths, (ours / "flurry-agent").string(), kToday);
  EXPECT_TRUE(fs::exists(old)) << "a controller may be about to start it";

  forget_old_agents(paths, (ours / "flurry-agent").string(), kTomorrow);
  EXPECT_FALSE(fs::exists(old));
  EXPECT_TRUE(fs::exists(ours));
  EXPECT_TRUE(fs::exists(fs::path(paths.agents()) / "notes"));
}

}  // namespace
}  // namespace flurry::agent
