#include "core/delta/base_choice.h"

#include <gtest/gtest.h>

namespace flurry::delta {
namespace {

nix::PathInfo info(char hash, const std::string& name, uint64_t size = 1000) {
  return {.path = *StorePath::parse("/nix/store/" + std::string(32, hash) + "-" + name), .nar_size = size};
}

std::string found(const std::vector<nix::PathInfo>& bases, const nix::PathInfo& path) {
  const auto* base = BaseChoice(bases).find(path);
  return base == nullptr ? "" : std::string(1, base->path.hash_part()[0]);
}

TEST(BaseChoice, PrefersTheSameNameOverAnotherVersion) {
  EXPECT_EQ(found({info('a', "tool-1.0"), info('b', "tool-1.1", 5000)}, info('c', "tool-1.1")), "b");
  EXPECT_EQ(found({info('a', "tool-1.0"), info('b', "tool-1.0-dev")}, info('c', "tool-1.1-dev")), "b");
}

TEST(BaseChoice, TakesTheOneOfTheNearestSizeOfSeveral) {
  EXPECT_EQ(found({info('a', "source", 10), info('b', "source", 900), info('c', "source", 5000)},
                  info('d', "source")),
            "b");
}

TEST(BaseChoice, IsNeverThePathItselfNorOneOfAnotherName) {
  EXPECT_EQ(found({info('a', "tool-1.0")}, info('a', "tool-1.0")), "");
  EXPECT_EQ(found({info('a', "other-1.0")}, info('b', "tool-1.0")), "");
}

TEST(BaseChoice, ReadsNoHugeBaseForASmallPath) {
  EXPECT_EQ(found({info('a', "etc", uint64_t{1} << 30)}, info('b', "etc", 4096)), "");
}

}  // namespace
}  // namespace flurry::delta
