#include "agent/profile.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "agent/nixos_system.h"
#include "tests/unit/agent/fake_system.h"
#include "tests/unit/agent/temp_dir.h"

// Profiles in a directory that stands for a host's root, with a nix-env that does what Nix's does to links.

namespace flurry::agent {
namespace {

namespace fs = std::filesystem;
using effect::SwitchAction;

constexpr const char* kNixEnv = R"(#!/bin/sh
echo "nix-env $*" >> "$FAKE/log"
link=$2
newest() { ls -d "$link"-*-link 2>/dev/null | sed 's/.*-\([0-9]*\)-link/\1/' | sort -n | tail -1; }
point() { ln -sfnT "$(basename "$link")-$1-link" "$link"; }
case $3 in
  --set)
    n=$(($(newest || echo 0) + 1))
    ln -s "$4" "$link-$n-link"; point $n ;;
  --switch-generation)
    [ -L "$link-$4-link" ] || { echo "error: generation $4 does not exist" >&2; exit 1; }
    point "$4" ;;
  --delete-generations) shift 3; for n; do rm -f "$link-$n-link"; done ;;
  *) exit 9 ;;
esac
)";
// alice and root are there, nobody else is.
constexpr const char* kGetent = R"(#!/bin/sh
case $3 in
  alice) echo "alice:x:1234:567:Alice:/home/alice:/bin/sh" ;;
  root) echo "root:x:0:0::/root:/bin/sh" ;;
  liar) echo "alice:x:0:0::/root:/bin/sh" ;;
  *) exit 2 ;;
esac
)";
// Notes for whom, and runs the rest.
constexpr const char* kSetpriv = R"(#!/bin/sh
echo "setpriv $1 $2 $3" >> "$FAKE/log"
shift 4
exec "$@"
)";

class ProfileTest : public testing::Test {
 protected:
  ProfileTest() {
    ::setenv("FAKE", dir_.str().c_str(), 1);
    ::setenv("PATH", (dir_.str() + "/bin:" + path_).c_str(), 1);
    tool("nix-env", kNixEnv);
    tool("getent", kGetent);
    tool("setpriv", kSetpriv);
    fs::create_directories(dir_.str() + "/profiles");
  }
  ~ProfileTest() override { ::setenv("PATH", path_.c_str(), 1); }

  void tool(const std::string& name, const char* text) { program("/bin/" + name, text); }
  void program(const std::string& path, const std::string& text) {
    fs::create_directories(fs::path(dir_.str() + path).parent_path());
    std::ofstream(dir_.str() + path) << text;
    ::chmod((dir_.str() + path).c_str(), 0755);
  }
  void generation(uint64_t number, const StorePath& path) {
    fs::create_symlink(path.str(), dir_.str() + "/profiles/p-" + std::to_string(number) + "-link");
  }
  void present(uint64_t number) {
    fs::remove(dir_.str() + "/profiles/p");
    fs::create_symlink("p-" + std::to_string(number) + "-link", dir_.str() + "/profiles/p");
  }
  bool has(uint64_t number) const {
    return fs::is_symlink(dir_.str() + "/profiles/p-" + std::to_string(number) + "-link");
  }
  ProfileState now() const { return read_profile(dir_.str(), profile_.path); }
  std::string log() const {
    std::ifstream in(dir_.str() + "/log");
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }
  Result<void> restore(const ProfileState& before) {
    return restore_profile(paths_, profile_, before, kNew, 0);
  }

  const std::string path_ = ::getenv("PATH");
  const TempDir dir_;
  const Paths paths_{dir_.str()};
  ProfileRef profile_{"p", "root", "/profiles/p"};
  const StorePath other_ = store_path('2', "other");
};

TEST_F(ProfileTest, SetMakesANewGenerationOfTheClosure) {
  generation(1, kOld);
  present(1);
  ASSERT_TRUE(set_profile(paths_, profile_, kNew));
  EXPECT_EQ(now(), (ProfileState{kNew, 2}));
  EXPECT_TRUE(has(1)) << "the old one stays to go back to";
}

TEST_F(ProfileTest, SetToWhatItNamesMakesNone) {
  generation(1, kNew);
  present(1);
  ASSERT_TRUE(set_profile(paths_, profile_, kNew));
  EXPECT_EQ(log(), "");
}

TEST_F(ProfileTest, RestoreGoesToTheRecordedGenerationAndForgetsTheOneThatWasMade) {
  generation(1, other_);
  generation(3, kOld);
  generation(4, kNew);
  present(4);
  ASSERT_TRUE(restore({kOld, 3}));
  EXPECT_EQ(now(), (ProfileState{kOld, 3}));
  EXPECT_FALSE(has(4)) << "a later rollback would end on it";
  EXPECT_TRUE(has(1));
}

TEST_F(ProfileTest, RestoreForgetsTheGenerationAlsoWhereTheLinkIsBackAlready) {
  generation(3, kOld);
  generation(4, kNew);
  present(3);
  ASSERT_TRUE(restore({kOld, 3}));
  EXPECT_FALSE(has(4));
}

// Someone made it before this deployment began: it is not ours to take away.
TEST_F(ProfileTest, RestoreLeavesOlderGenerationsOfTheSameClosure) {
  generation(2, kNew);
  generation(3, kOld);
  present(3);
  ASSERT_TRUE(restore_profile(paths_, profile_, {kOld, 3}, kNew, 4'000'000'000'000));
  EXPECT_TRUE(has(2));
}

TEST_F(ProfileTest, RestoreMakesTheRecordedClosureAGenerationAgainWhereItsOwnIsGone) {
  generation(4, kNew);
  present(4);
  ASSERT_TRUE(restore({kOld, 3}));
  EXPECT_EQ(now().path, kOld);
}

// home-manager's script sets its profile by itself, to the package that was wrapped for deploy-rs.
class WrappedHome : public ProfileTest {
 protected:
  WrappedHome() {
    program(other_.str() + "/activate", "#!/bin/sh\n");
    fs::create_directories(dir_.str() + kNew.str());
    fs::create_symlink(dir_.str() + other_.str() + "/activate", dir_.str() + kNew.str() + "/activate");
  }
};

TEST_F(WrappedHome, ThatMadeAGenerationOfItsOwnLeavesOne) {
  generation(3, kOld);
  generation(4, kNew);
  generation(5, other_);
  present(5);
  ASSERT_TRUE(settle_profile(paths_, profile_, kNew, 0));
  EXPECT_EQ(now(), (ProfileState{kNew, 4}));
  EXPECT_FALSE(has(5));
  EXPECT_TRUE(has(3));
}

TEST_F(WrappedHome, IsNoReasonToTouchWhatSomebodyElseHasSetMeanwhile) {
  generation(4, kNew);
  generation(5, kOld);
  present(5);
  ASSERT_TRUE(settle_profile(paths_, profile_, kNew, 0));
  EXPECT_EQ(now(), (ProfileState{kOld, 5}));
  EXPECT_TRUE(has(4));
}

TEST_F(WrappedHome, ThatFailedIsNotLeftAsNewestGeneration) {
  generation(3, kOld);
  generation(4, kNew);
  generation(5, other_);
  present(5);
  ASSERT_TRUE(restore({kOld, 3}));
  EXPECT_EQ(now(), (ProfileState{kOld, 3}));
  EXPECT_FALSE(has(4));
  EXPECT_FALSE(has(5));
}

TEST_F(ProfileTest, HomeManagersProfileLiesWhereItsOwnScriptLooksForIt) {
  const Account alice{"alice", std::to_string(::getuid()), "567", "/home/alice"};
  const std::string shared = "/nix/var/nix/profiles/per-user/alice";
  const std::string own = "/home/alice/.local/state/nix/profiles";
  fs::create_directories(dir_.str() + shared);
  EXPECT_EQ(default_profile_path(paths_, alice, "home-manager"), shared + "/home-manager");
  fs::create_symlink("home-manager-1-link", dir_.str() + shared + "/home-manager");
  fs::create_directories(dir_.str() + own);
  EXPECT_EQ(default_profile_path(paths_, alice, "home-manager"), own + "/home-manager");
  EXPECT_EQ(default_profile_path(paths_, alice, "other"), shared + "/other");
}

// The number alone proves nothing.
TEST_F(ProfileTest, RestoreIsNotContentWithTheRightNumberOfAnotherClosure) {
  generation(3, other_);
  generation(4, kNew);
  present(4);
  ASSERT_TRUE(restore({kOld, 3}));
  EXPECT_EQ(now().path, kOld);
}

TEST_F(ProfileTest, RestoreOfNothingTakesTheProfileAway) {
  generation(1, kNew);
  present(1);
  ASSERT_TRUE(restore({}));
  EXPECT_EQ(now(), ProfileState{});
  EXPECT_FALSE(has(1));
}

TEST_F(ProfileTest, RestoreOfALinkWithoutGenerationsMakesThatLink) {
  generation(1, kNew);
  present(1);
  ASSERT_TRUE(restore({kOld, std::nullopt}));
  EXPECT_EQ(fs::read_symlink(dir_.str() + "/profiles/p"), kOld.str());
}

// A link in a user's directory could lead root anywhere.
TEST_F(ProfileTest, WhatIsAUsersIsOnlyTouchedAsThatUser) {
  profile_.user = "alice";
  generation(1, kOld);
  present(1);
  ASSERT_TRUE(set_profile(paths_, profile_, kNew));
  ASSERT_TRUE(restore({kOld, 1}));
  std::istringstream lines(log());
  std::string before;
  for (std::string line; std::getline(lines, line); before = line)
    if (line.starts_with("nix-env")) {
      EXPECT_EQ(before, "setpriv --reuid=1234 --regid=567 --init-groups") << line;
    }
  EXPECT_NE(log().find("nix-env"), std::string::npos);
}

TEST_F(ProfileTest, AnAccountIsTheOneThatWasAskedFor) {
  const auto alice = find_account("alice");
  ASSERT_TRUE(alice);
  EXPECT_EQ(alice->uid, "1234");
  EXPECT_EQ(alice->gid, "567");
  EXPECT_EQ(alice->home, "/home/alice");
  for (const char* name : {"nobody", "liar"}) EXPECT_FALSE(find_account(name)) << name;
}

TEST_F(ProfileTest, AnActivationRunsAsItsUserWithItsUsersHome) {
  program(kNew.str() + "/activate", "#!/bin/sh\n");
  profile_.user = "alice";
  const auto command = activation_command(paths_, profile_, kNew, SwitchAction::kActivate);
  ASSERT_TRUE(command) << command.error().message;
  const auto& argv = command->argv;
  ASSERT_GE(argv.size(), 10u);
  EXPECT_EQ(std::vector(argv.begin(), argv.begin() + 9),
            (std::vector<std::string>{"setpriv", "--reuid=1234", "--regid=567", "--init-groups", "--", "env",
                                      "HOME=/home/alice", "USER=alice", "LOGNAME=alice"}));
  EXPECT_EQ(argv.back(), kNew.str() + "/activate");
  EXPECT_EQ(command->working_directory, profile_.path);
}

TEST_F(ProfileTest, RootsActivationRunsAsItIs) {
  program(kNew.str() + "/activate", "#!/bin/sh\n");
  const auto activate = activation_command(paths_, profile_, kNew, SwitchAction::kActivate);
  EXPECT_EQ(activate->argv, std::vector<std::string>{kNew.str() + "/activate"});
  const auto dry = activation_command(paths_, profile_, kNew, SwitchAction::kDryActivate);
  EXPECT_EQ(dry->argv, (std::vector<std::string>{"env", "DRY_RUN=1", kNew.str() + "/activate"}));
  EXPECT_TRUE(activation_command(paths_, profile_, kNew, SwitchAction::kBoot)->argv.empty());
}

TEST_F(ProfileTest, AScriptOfDeployRsIsToldWhatIsWanted) {
  program(kNew.str() + "/activate", "#!/bin/sh\n");
  program(kNew.str() + "/deploy-rs-activate", "#!/bin/sh\n");
  const std::string script = kNew.str() + "/deploy-rs-activate";
  const auto argv = [&](SwitchAction action) {
    return activation_command(paths_, profile_, kNew, action)->argv;
  };
  using Words = std::vector<std::string>;
  EXPECT_EQ(argv(SwitchAction::kActivate),
            (Words{"env", "PROFILE=/profiles/p", "DRY_ACTIVATE=0", "BOOT=0", script}));
  EXPECT_EQ(argv(SwitchAction::kBoot),
            (Words{"env", "PROFILE=/profiles/p", "DRY_ACTIVATE=0", "BOOT=1", script}));
  EXPECT_EQ(argv(SwitchAction::kDryActivate),
            (Words{"env", "PROFILE=" + kNew.str(), "DRY_ACTIVATE=1", "BOOT=0", script}));
}

TEST_F(ProfileTest, AClosureWithNothingToRunRunsNothing) {
  fs::create_directories(dir_.str() + kNew.str());
  std::ofstream(dir_.str() + kNew.str() + "/activate") << "a file that is no program";
  EXPECT_EQ(activation_kind(paths_, kNew), ActivationKind::kNone);
  EXPECT_TRUE(activation_command(paths_, profile_, kNew, SwitchAction::kActivate)->argv.empty());
}

TEST_F(ProfileTest, AProfileLiesWhereItsUsersOthersDo) {
  const Account root{"root", "0", "0", "/root"};
  const Account alice{"alice", std::to_string(::getuid()), "567", "/home/alice"};
  const Account bob{"bob", "4321", "567", "/home/bob"};
  for (const char* name : {"alice", "bob"})
    fs::create_directories(dir_.str() + "/nix/var/nix/profiles/per-user/" + name);
  EXPECT_EQ(default_profile_path(paths_, root, "x"), "/nix/var/nix/profiles/per-user/root/x");
  EXPECT_EQ(default_profile_path(paths_, alice, "x"), "/nix/var/nix/profiles/per-user/alice/x");
  EXPECT_EQ(default_profile_path(paths_, bob, "x"), "/home/bob/.local/state/nix/profiles/x")
      << "the shared directory belongs to somebody else";
  fs::create_directories(dir_.str() + "/home/alice/.local/state/nix/profiles");
  fs::create_symlink("x-1-link", dir_.str() + "/home/alice/.local/state/nix/profiles/x");
  EXPECT_EQ(default_profile_path(paths_, alice, "x"), "/home/alice/.local/state/nix/profiles/x");
}

}  // namespace
}  // namespace flurry::agent
