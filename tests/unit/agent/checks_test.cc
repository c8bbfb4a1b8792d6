#include "agent/checks.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>

#include <fstream>

#include "tests/unit/agent/temp_dir.h"

namespace flurry::agent {
namespace {

// Every user of the host can read every process's command line, and, of its own user, the environment.
TEST(Checks, AnHttpChecksSecretsStandOnNoCommandLine) {
  const TempDir dir;
  const std::string probe = dir.str() + "/probe";
  std::ofstream(probe) << "#!/bin/sh\necho \"$*\" > " << dir.str() << "/words\nenv > " << dir.str()
                       << "/environment\ntr '\\0' '\\n' > " << dir.str() << "/input\n";
  ASSERT_EQ(::chmod(probe.c_str(), 0700), 0);
  HealthCheck check;
  check.kind = HttpCheck{.url = "http://user:hidden-1@localhost/?token=hidden-2",
                         .headers = {{"Authorization", "hidden-3"}},
                         .body = "hidden-4"};
  const auto result = run_check_once(check, probe);
  EXPECT_TRUE(result.passed) << result.message;
  const auto said = [&](const char* file) {
    std::ifstream in(dir.str() + "/" + file);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  EXPECT_NE(said("words").find("probe http"), std::string::npos);
  EXPECT_EQ(said("words").find("hidden"), std::string::npos) << said("words");
  EXPECT_EQ(said("environment").find("hidden"), std::string::npos);
  for (const char* secret : {"hidden-1", "hidden-2", "hidden-3", "hidden-4"})
    EXPECT_NE(said("input").find(secret), std::string::npos) << secret;
}

CheckResult run_command(std::vector<std::string> argv, Millis timeout = Millis(20'000)) {
  HealthCheck check;
  check.kind = CommandCheck{std::move(argv)};
  check.timeout = timeout;
  return run_check_once(check, FLURRY_AGENT_PROGRAM);
}

bool is_alive(const std::string& pid_file) {
  pid_t pid = 0;
  std::ifstream(pid_file) >> pid;
  EXPECT_GT(pid, 0);
  return ::kill(pid, 0) == 0;
}

TEST(Checks, ACommandsExitCodeSignalAndWordsAreTold) {
  EXPECT_TRUE(run_command({"true"}).passed);
  const auto said = run_command({"sh", "-c", "echo all is well"});
  EXPECT_TRUE(said.passed);
  EXPECT_EQ(said.message, "all is well");
  EXPECT_EQ(run_command({"sh", "-c", "echo low on ice; exit 3"}).message, "exit code 3: low on ice");
  for (const char* number : {"KILL", "TERM", "SEGV", "ALRM"}) {
    const auto killed = run_command({"sh", "-c", std::string("echo fine; kill -") + number + " $$"});
    EXPECT_FALSE(killed.passed) << number;
    EXPECT_TRUE(killed.message.starts_with("signal ")) << killed.message;
  }
  const auto missing = run_command({"/nowhere/at-all", "-x"});
  EXPECT_FALSE(missing.passed);
  EXPECT_NE(missing.message.find("start /nowhere/at-all: No such file"), std::string::npos)
      << missing.message;
}

// In a session of its own, deaf to signals, and an orphan of an orphan.
TEST(Checks, NothingThatACommandStartsOutlivesIt) {
  const TempDir dir;
  const std::string deep = "trap '' TERM HUP; echo $$ > " + dir.str() + "/deep; while :; do sleep 1; done";
  const auto result =
      run_command({"sh", "-c",
                   "setsid sh -c 'echo $$ > " + dir.str() +
                       "/child; (setsid setsid sh -c \"$0\" &) ; exec sleep 1000' \"$0\" &"
                       "until [ -s " +
                       dir.str() + "/deep ] && [ -s " + dir.str() + "/child ]; do sleep 0.02; done; echo ok",
                   deep});
  EXPECT_TRUE(result.passed) << result.message;
  EXPECT_FALSE(is_alive(dir.str() + "/child"));
  EXPECT_FALSE(is_alive(dir.str() + "/deep"));
}

TEST(Checks, NothingThatACommandStartsOutlivesItsTimeout) {
  const TempDir dir;
  const auto result =
      run_command({"sh", "-c",
                   "trap '' TERM; setsid sh -c 'echo $$ > " + dir.str() +
                       "/child; trap \"\" TERM; while :; do sleep 1; done' & while :; do sleep 1; done"},
                  Millis(1000));
  EXPECT_FALSE(result.passed);
  EXPECT_EQ(result.message, "no answer within 1000 ms");
  EXPECT_FALSE(is_alive(dir.str() + "/child"));
}

}  // namespace
}  // namespace flurry::agent
