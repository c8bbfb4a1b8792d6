#include "core/names.h"

#include <gtest/gtest.h>

namespace flurry {
namespace {

TEST(HostName, AcceptsWhatCanStandInACommandLine) {
  for (const char* good : {"h1", "web-01", "db_2.example.org"}) EXPECT_TRUE(HostName::parse(good)) << good;
}

TEST(HostName, RefusesWhatACommandLineWouldMisread) {
  for (const char* bad : {"", "-oProxyCommand=x", ".hidden", "a b", "a/b", "a\nb", "h\xc3\xa9"})
    EXPECT_FALSE(HostName::parse(bad)) << bad;
}

TEST(StorePath, IsATopLevelPathOfTheStore) {
  const auto path = StorePath::parse("/nix/store/7rjqb838snvvxcmpvck1smfxhkwzqal5-nixos-system-web-24.11");
  ASSERT_TRUE(path);
  EXPECT_EQ(path->name(), "nixos-system-web-24.11");
  EXPECT_EQ(path->hash_part(), "7rjqb838snvvxcmpvck1smfxhkwzqal5");
}

TEST(StorePath, RefusesEverythingElse) {
  for (const char* bad :
       {"", "/nix/store", "/nix/store/../etc/passwd", "/nix/store/7rjqb838snvvxcmpvck1smfxhkwzqal5",
        "/nix/store/7rjqb838snvvxcmpvck1smfxhkwzqal5-", "/nix/store/7rjqb838snvvxcmpvck1smfxhkwzqal5-a/b",
        "/nix/store/7rjqb838snvvxcmpvck1smfxhkwzqal5-.x", "/nix/store/eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee-x",
        "/gnu/store/7rjqb838snvvxcmpvck1smfxhkwzqal5-x"})
    EXPECT_FALSE(StorePath::parse(bad)) << bad;
}

TEST(DeploymentId, IsAUlidThatSortsByTime) {
  const unsigned char entropy[10] = {0xff, 1, 2, 3, 4, 5, 6, 7, 8, 9};
  const auto early = DeploymentId::make(1469918176385, entropy);
  const auto late = DeploymentId::make(1469918176386, entropy);
  EXPECT_EQ(early.str().substr(0, 10), "01ARYZ6S41");  // from the ULID specification's example
  EXPECT_LT(early, late);
  EXPECT_TRUE(DeploymentId::parse(early.str()));
}

TEST(DeploymentId, RefusesWhatIsNoUlid) {
  for (const char* bad : {"", "01ARYZ6S41", "01ARYZ6S41TSV4RRFFQ69G5FAU", "81ARYZ6S41TSV4RRFFQ69G5FAV"})
    EXPECT_FALSE(DeploymentId::parse(bad)) << bad;
}

}  // namespace
}  // namespace flurry
