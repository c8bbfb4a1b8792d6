#include "cli/host_settings.h"

#include <gtest/gtest.h>

namespace flurry {
namespace {

TEST(HostSettings, LeaveOutWhatOnlyEvaluationNeedsAndWhatIsOfThisMachine) {
  const NixSettingList all = {{"access-tokens", "github.com=secret"},
                              {"extra-access-tokens", "github.com=secret"},
                              {"netrc-file", "/home/me/netrc"},
                              {"eval-cache", "false"},
                              {"max-jobs", "4"},
                              {"builders", "ssh://b"},
                              {"secret-key-files", "/home/me/key"},
                              {"extra-secret-key-files", "/home/me/key"},
                              {"post-build-hook", "/home/me/hook"},
                              {"extra-substituters", "https://cache"},
                              {"sandbox", "false"},
                              {"keep-failed", "true"}};
  EXPECT_EQ(settings_for_hosts(all), NixSettingList(all.end() - 3, all.end()));
}

TEST(HostSettings, AreALineEachInTheirOrder) {
  EXPECT_EQ(*nix_config_text({}), "");
  EXPECT_EQ(
      *nix_config_text({{"sandbox", "false"}, {"extra-substituters", "https://a https://b"}, {"a", ""}}),
      "sandbox = false\nextra-substituters = https://a https://b\na = \n");
}

// Nix would take the rest for a comment or for a setting that nobody gave.
TEST(HostSettings, ThatCannotBeSaidAreRefusedByNameAndNotByValue) {
  for (const std::string& value :
       {std::string("a#b"), std::string("a\nsandbox = false"), std::string("a\0b", 3)}) {
    const auto refused = nix_config_text({{"sandbox", "true"}, {"extra-substituters", value}});
    ASSERT_FALSE(refused) << value;
    EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidInput);
    EXPECT_NE(refused.error().message.find("'extra-substituters'"), std::string::npos);
    EXPECT_EQ(refused.error().message.find("a#b"), std::string::npos);
  }
  for (const char* name : {"", "a b", "a\nb", "include /etc/x\na", "!include"})
    EXPECT_FALSE(nix_config_text({{name, "x"}})) << name;
}

}  // namespace
}  // namespace flurry
