#include "agent/checks.h"

#include <gtest/gtest.h>
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

}  // namespace
}  // namespace flurry::agent
