#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>

#include "agent/file_io.h"
#include "agent/host_mode.h"
#include "agent/nixos_system.h"
#include "tests/unit/agent/fake_system.h"
#include "tests/unit/agent/temp_dir.h"

// What is asked of systemd, with programs in its place that note what they are called with. What systemd
// itself then does is tested on real hosts, in tests/lab/test_survive.py.

namespace flurry::agent {
namespace {

// The units that run are the lines of `units`, their properties are `properties`; a start copies what
// `next-*` says over them. With `old` there, systemd-run knows no SurviveFinalKillSignal.
constexpr const char* kSystemctl = R"(#!/bin/sh
echo "systemctl $*" >> "$FAKE/log"
for pattern; do :; done
case $2 in --type=target) pattern=*.target ;; esac
case $1 in
  list-units)
    touch "$FAKE/units"
    while read -r unit; do
      case $unit in $pattern) echo "$unit loaded active running text" ;; esac
    done < "$FAKE/units" ;;
  show) cat "$FAKE/properties" ;;
  start) shift 3; for unit; do echo "$unit" >> "$FAKE/units"; done ;;
  stop | kill) grep -vx "$pattern" "$FAKE/units" > "$FAKE/left"; mv "$FAKE/left" "$FAKE/units" ;;
  is-system-running) cat "$FAKE/state"; exit 1 ;;
esac
)";
constexpr const char* kSystemdRun = R"(#!/bin/sh
echo "systemd-run $*" >> "$FAKE/log"
case "$*" in
  *SurviveFinalKillSignal*)
    if [ -e "$FAKE/old" ]; then echo "Unknown assignment: SurviveFinalKillSignal=yes" >&2; exit 1; fi ;;
esac
if [ -e "$FAKE/refuse" ]; then echo "Access denied" >&2; exit 1; fi
cat "$FAKE/next-units" >> "$FAKE/units"
cp "$FAKE/next-properties" "$FAKE/properties"
)";

class NixosUnitsTest : public testing::Test {
 protected:
  NixosUnitsTest() {
    EXPECT_EQ(::pipe2(pipe_, O_CLOEXEC), 0);
    ::setenv("FAKE", dir_.str().c_str(), 1);
    ::setenv("PATH", (dir_.str() + ":" + path_).c_str(), 1);
    tool("systemctl", kSystemctl);
    tool("systemd-run", kSystemdRun);
    unit_ = "flurry-deadman-" + record_.spec.deployment.str() + ".service";
    watcher_ = start_watcher(record_.spec.deployment.str());
    put("properties", "");
    put("next-units", unit_ + "\n");
    put("next-properties", properties(watcher_));
  }
  ~NixosUnitsTest() override {
    for (const pid_t pid : started_) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
    ::close(pipe_[0]);
    ::close(pipe_[1]);
    ::setenv("PATH", path_.c_str(), 1);
  }

  void put(const std::string& name, const std::string& text) {
    std::ofstream(dir_.str() + "/" + name) << text;
  }
  void tool(const std::string& name, const char* text) {
    put(name, text);
    ::chmod((dir_.str() + "/" + name).c_str(), 0755);
  }
  std::string log() const {
    std::ifstream in(dir_.str() + "/log");
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
  }
  bool was_called(const std::string& text) const { return log().find(text) != std::string::npos; }

  static std::string properties(pid_t pid) {
    return "ActiveState=active\nMainPID=" + std::to_string(pid) + "\nFreezerState=running\n";
  }
  // A process whose words are those of a deadman; it reads from a pipe that never ends.
  pid_t start_watcher(const std::string& id) {
    const pid_t pid = ::fork();
    if (pid == 0) {
      ::dup2(pipe_[0], STDIN_FILENO);
      ::execl("/bin/sh", "/bin/sh", "-c", "while read -r line; do :; done", "deadman", id.c_str(), nullptr);
      ::_exit(127);
    }
    started_.push_back(pid);
    for (int i = 0; i < 1000; ++i, ::usleep(1'000)) {
      const auto words = read_file("/proc/" + std::to_string(pid) + "/cmdline", 4096);
      if (words && words->find("while") != std::string::npos) break;
    }
    return pid;
  }
  void runs(const std::string& its_properties) {
    put("units", unit_ + "\n");
    put("properties", its_properties);
  }
  Result<EffectValue> arm() { return system_.perform(effect::ArmDeadman{}, record_, {}); }

  const std::string path_ = ::getenv("PATH");
  int pipe_[2] = {-1, -1};
  TempDir dir_;
  NixosSystem system_{Paths{dir_.str()}, "/nowhere/flurry-agent"};
  ActivationRecord record_{.spec = test_spec()};
  std::string unit_;
  std::vector<pid_t> started_;
  pid_t watcher_ = 0;
};

TEST_F(NixosUnitsTest, ADeadmanStaysInEveryModeAndAfterASoftReboot) {
  ASSERT_TRUE(arm());
  for (const char* property :
       {"DefaultDependencies=no", "IgnoreOnIsolate=yes", "SurviveFinalKillSignal=yes", "Type=notify",
        "Conflicts=reboot.target", "Before=reboot.target", "Conflicts=poweroff.target"})
    EXPECT_TRUE(was_called(std::string("--property=") + property)) << property << "\n" << log();
}

TEST_F(NixosUnitsTest, AnOlderSystemdIsNotAskedForWhatItDoesNotKnow) {
  put("old", "");
  ASSERT_TRUE(arm());
  const std::string last = log().substr(log().rfind("systemd-run "));
  EXPECT_EQ(last.find("SurviveFinalKillSignal"), std::string::npos);
  EXPECT_NE(last.find("IgnoreOnIsolate=yes"), std::string::npos);
}

TEST_F(NixosUnitsTest, AnotherRefusalIsToldAsItIs) {
  put("refuse", "");
  const auto armed = arm();
  ASSERT_FALSE(armed);
  EXPECT_NE(armed.error().message.find("Access denied"), std::string::npos);
  EXPECT_EQ(log().find("systemd-run "), log().rfind("systemd-run ")) << "tried once";
}

TEST_F(NixosUnitsTest, ADeadmanOnWatchIsLeftAlone) {
  runs(properties(watcher_));
  ASSERT_TRUE(arm());
  EXPECT_FALSE(was_called("systemd-run")) << log();
}

TEST_F(NixosUnitsTest, AStoppedDeadmanIsReplaced) {
  const pid_t stopped = start_watcher(record_.spec.deployment.str());
  ::kill(stopped, SIGSTOP);
  int status = 0;
  ::waitpid(stopped, &status, WUNTRACED);
  runs(properties(stopped));
  ASSERT_TRUE(arm());
  EXPECT_TRUE(was_called("systemctl kill --signal=KILL -- " + unit_)) << log();
  EXPECT_TRUE(was_called("systemd-run")) << log();
}

TEST_F(NixosUnitsTest, ADeadmanOfNothingIsReplaced) {
  for (const std::string& its :
       {properties(start_watcher("01ARZ3NDEKTSV4RRFFQ69G5FB9")), properties(0),
        std::string("ActiveState=activating\nMainPID=") + std::to_string(watcher_) + "\n",
        "ActiveState=active\nFreezerState=frozen\nMainPID=" + std::to_string(watcher_) + "\n"}) {
    put("log", "");
    runs(its);
    ASSERT_TRUE(arm()) << its;
    EXPECT_TRUE(was_called("systemd-run")) << its << log();
  }
}

TEST_F(NixosUnitsTest, ADeadmanThatIsNotOnWatchAfterItsStartIsNoDeadman) {
  put("next-units", "");
  EXPECT_FALSE(arm());
}

TEST_F(NixosUnitsTest, ASwitchExcludesOnlyUnitsThatRun) {
  const std::string id = record_.spec.deployment.str();
  put("units", "flurry-switch-" + id + ".service\n");
  put("next-units", "flurry-rollback-" + id + "-1.service\n");
  ASSERT_TRUE(system_.perform(
      effect::RunSwitch{kOld, effect::SwitchAction::kTest, "flurry-rollback-" + id + "-1"}, record_, {}));
  EXPECT_TRUE(was_called("--property=Conflicts=flurry-switch-" + id + ".service")) << log();
  EXPECT_FALSE(was_called("flurry-boot-" + id)) << "it may be gone, and must not be named: " << log();
  EXPECT_TRUE(was_called("--property=IgnoreOnIsolate=yes")) << log();
  EXPECT_TRUE(was_called("systemctl kill --signal=TERM -- flurry-switch-" + id + ".service"))
      << "it came to life late";
}

TEST_F(NixosUnitsTest, WhatIsStoppedIsNotNamedOnceItIsGone) {
  const std::string id = record_.spec.deployment.str();
  put("units", "flurry-switch-" + id + ".service\n");
  ASSERT_TRUE(system_.perform(effect::StopSwitch{}, record_, {}));
  EXPECT_TRUE(was_called("systemctl kill --signal=TERM -- flurry-switch-" + id + ".service")) << log();
  EXPECT_FALSE(was_called("systemctl stop")) << log();
  put("log", "");
  ASSERT_TRUE(system_.perform(effect::DisarmDeadman{}, record_, {}));
  EXPECT_FALSE(was_called("systemctl stop")) << log();
  put("units", unit_ + "\n");  // one that does not leave
  ASSERT_TRUE(system_.perform(effect::DisarmDeadman{}, record_, {}));
  EXPECT_TRUE(was_called("systemctl stop --quiet -- " + unit_)) << log();
}

TEST_F(NixosUnitsTest, AWayBackStartsTheBusAndTheTargetsThatWereActive) {
  const std::string id = record_.spec.deployment.str();
  put("units", "multi-user.target\nbasic.target\n");
  put("next-units", unit_ + "\n");
  ASSERT_TRUE(arm());
  put("units", "emergency.target\nbasic.target\n");
  ASSERT_TRUE(system_.perform(
      effect::RunSwitch{kOld, effect::SwitchAction::kTest, "flurry-rollback-" + id + "-1"}, record_, {}));
  EXPECT_TRUE(was_called("systemctl start --job-mode=ignore-dependencies -- dbus.socket dbus.service"));
  EXPECT_TRUE(was_called("systemctl start --no-block -- multi-user.target\n")) << log();
}

TEST_F(NixosUnitsTest, ABootIdTellsSoftRebootsApart) {
  put("properties", "SoftRebootsCount=0\n");
  const std::string hard = *read_boot_id();
  put("properties", "SoftRebootsCount=2\n");
  EXPECT_EQ(*read_boot_id(), hard + "+2");
  put("properties", "");  // before systemd 256
  EXPECT_EQ(*read_boot_id(), hard);
  EXPECT_TRUE(is_same_kernel(hard, hard + "+2"));
  EXPECT_FALSE(is_same_kernel("11111111" + hard.substr(8), hard));
}

TEST_F(NixosUnitsTest, TheManagersStateIsReadWhateverTheExitStatus) {
  put("state", "stopping\n");
  EXPECT_EQ(*read_manager_state(), ManagerState::kStopping);
  put("state", "maintenance\n");
  EXPECT_EQ(*read_manager_state(), ManagerState::kUp);
  put("state", "offline\n");
  EXPECT_FALSE(read_manager_state());
}

}  // namespace
}  // namespace flurry::agent
