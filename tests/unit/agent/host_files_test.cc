#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "agent/file_io.h"
#include "agent/nixos_system.h"
#include "tests/unit/agent/fake_system.h"
#include "tests/unit/agent/temp_dir.h"

// What the agent reads and writes on a host, in a directory that stands for its root.

namespace flurry::agent {
namespace {

namespace fs = std::filesystem;

class HostFilesTest : public testing::Test {
 protected:
  HostFilesTest() {
    record_.before.boot_id = kBootId;
    fs::create_directories(dir_.str() + "/nix/store");
  }

  void put(const std::string& path, const std::string& text, bool is_program = false) {
    fs::create_directories(fs::path(dir_.str() + path).parent_path());
    std::ofstream(dir_.str() + path) << text;
    if (is_program) ::chmod((dir_.str() + path).c_str(), 0755);
  }
  void put_system(const StorePath& path) {
    put(path.str() + "/bin/switch-to-configuration", "#!/bin/sh\n", true);
    put(path.str() + "/nixos-version", "24.11");
    put(path.str() + "/system", host_system());
  }

  Result<EffectValue> perform(const effect::Any& what) { return system_.perform(what, record_, {}); }

  // The names of the GC roots, without the deployment's own, and where each leads.
  std::map<std::string, std::string> roots() const {
    std::map<std::string, std::string> out;
    const std::string prefix = record_.spec.deployment.str() + "-";
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(paths_.gc_roots(), error)) {
      std::string name = entry.path().filename().string();
      if (name.starts_with(prefix)) name = name.substr(prefix.size());
      out[name] = fs::read_symlink(entry.path()).string();
    }
    return out;
  }

  std::string refusal(const ActivationSpec& spec) {
    const auto admitted = system_.admit(spec);
    return admitted ? "" : admitted.error().message;
  }

  const TempDir dir_;
  const Paths paths_{dir_.str()};
  NixosSystem system_{paths_, "/nowhere/flurry-agent"};
  ActivationRecord record_{.spec = {.deployment = *DeploymentId::parse("01ARYZ6S41TSV4RRFFQ69G5FAV"),
                                    .nonce = kNonce,
                                    .profiles = {system_profile(kNew)}}};
  const StorePath profile_ = store_path('2', "profile");
  const StorePath boot_ = store_path('3', "boot");
  const StorePath home_ = store_path('4', "home");
  const StorePath old_home_ = store_path('5', "old-home");
};

using Roots = std::map<std::string, std::string>;

// A rollback needs what ran, the boot default needs what the profile named, and the commit needs the new one.
TEST_F(HostFilesTest, RootsHoldAllThatTheWayForwardOrBackMayNeed) {
  record_.spec.profiles.push_back({{"home", "alice", "/home/alice/link"}, home_});
  record_.before.running = kOld;
  record_.before.profile = profile_;
  record_.before.boot_default = boot_;
  record_.before.user_profiles["home"] = {old_home_, 3};
  ASSERT_TRUE(perform(effect::HoldRoots{}));
  EXPECT_EQ(roots(), (Roots{{"before", kOld.str()},
                            {"boot", boot_.str()},
                            {"new", kNew.str()},
                            {"profile", profile_.str()},
                            {"new-home", home_.str()},
                            {"profile-home", old_home_.str()}}));
}

TEST_F(HostFilesTest, RootsOfWhatIsNotThereAreNotMade) {
  ASSERT_TRUE(perform(effect::HoldRoots{}));
  EXPECT_EQ(roots(), (Roots{{"new", kNew.str()}}));
}

TEST_F(HostFilesTest, ReleaseTakesThisDeploymentsRootsAndNoOthers) {
  record_.before.running = kOld;
  ASSERT_TRUE(perform(effect::HoldRoots{}));
  const std::string other = "01ARYZ6S41TSV4RRFFQ69G5FAW-new";
  fs::create_symlink(kOld.str(), paths_.gc_roots() + "/" + other);
  ASSERT_TRUE(perform(effect::ReleaseRoots{}));
  EXPECT_EQ(roots(), (Roots{{other, kOld.str()}}));
}

TEST_F(HostFilesTest, ASystemIsAdmittedWhereItIsWhole) {
  put_system(kNew);
  const auto admitted = system_.admit(record_.spec);
  ASSERT_TRUE(admitted) << admitted.error().message;
  EXPECT_FALSE(admitted->profiles[0].wrapped);
}

TEST_F(HostFilesTest, ASystemThatLacksSomethingIsRefusedWithWhatItLacks) {
  EXPECT_NE(refusal(record_.spec).find("is not on this host"), std::string::npos) << refusal(record_.spec);
  put_system(kNew);
  EXPECT_EQ(refusal(record_.spec), "");
  const std::string closure = dir_.str() + kNew.str();
  ::chmod((closure + "/bin/switch-to-configuration").c_str(), 0644);
  EXPECT_NE(refusal(record_.spec).find("switch-to-configuration"), std::string::npos) << "it can't be run";
  fs::remove(closure + "/bin/switch-to-configuration");
  EXPECT_NE(refusal(record_.spec).find("switch-to-configuration"), std::string::npos);
  put_system(kNew);
  fs::remove(closure + "/nixos-version");
  EXPECT_NE(refusal(record_.spec).find("nixos-version"), std::string::npos);
  put_system(kNew);
  put(kNew.str() + "/system", "armv6l-linux");
  EXPECT_NE(refusal(record_.spec).find("another kind of machine"), std::string::npos);
}

TEST_F(HostFilesTest, EachStateIsReadFromItsOwnLink) {
  fs::create_directories(dir_.str() + "/run");
  fs::create_directories(dir_.str() + "/nix/var/nix/profiles");
  fs::create_symlink(kOld.str(), dir_.str() + "/run/current-system");
  fs::create_symlink(profile_.str(), dir_.str() + "/nix/var/nix/profiles/system-17-link");
  fs::create_symlink("system-17-link", dir_.str() + "/nix/var/nix/profiles/system");
  EXPECT_EQ(store_path_of_link(dir_.str() + "/run/current-system"), kOld);
  const auto profile = read_profile(dir_.str(), "/nix/var/nix/profiles/system");
  EXPECT_EQ(profile.path, profile_);
  EXPECT_EQ(profile.generation, 17u);
  EXPECT_EQ(read_profile(dir_.str(), "/nix/var/nix/profiles/none"), ProfileState{});
}

// A switch would stop at a reload of what isn't loaded. Of what is active the next one does the rest.
TEST_F(HostFilesTest, OfTheListsOfABrokenOffSwitchTheRestartsAndReloadsOfActiveUnitsStay) {
  put("/run/nixos/start-list", "app.service\n");
  put("/run/nixos/restart-list", "gone.service\n");
  put("/run/nixos/reload-list", "gone.service\nrel.service\n");
  ASSERT_TRUE(clear_leftovers(paths_, {"app.service", "rel.service"}));
  EXPECT_EQ(read_leftovers(paths_), std::vector<std::string>{"reload-list"});
  EXPECT_EQ(*read_file(paths_.switch_lists() + "/reload-list", 100), "rel.service\n");
}

}  // namespace
}  // namespace flurry::agent
