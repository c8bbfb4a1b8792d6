#include "core/nix/closure.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

namespace flurry::nix {
namespace {

StorePath path(char c) { return *StorePath::parse("/nix/store/" + std::string(32, c) + "-x"); }

size_t place_of(const std::vector<PathInfo>& infos, const StorePath& path) {
  const auto it =
      std::find_if(infos.begin(), infos.end(), [&](const auto& info) { return info.path == path; });
  return static_cast<size_t>(it - infos.begin());
}

// Names sort paths by chance: each of the orders in which three names can stand for top, middle and bottom.
TEST(Closure, EachPathComesAfterAllThatItRefersToWhateverTheNames) {
  std::string names = "123";
  do {
    const StorePath top = path(names[0]), middle = path(names[1]), bottom = path(names[2]);
    PathInfo a{.path = top, .references = {middle, bottom, top}};
    PathInfo b{.path = middle, .references = {bottom}};
    PathInfo c{.path = bottom};
    const auto sorted = sort_references_first({a, b, c});
    ASSERT_TRUE(sorted) << sorted.error().message;
    ASSERT_EQ(sorted->size(), 3u);
    EXPECT_LT(place_of(*sorted, bottom), place_of(*sorted, middle)) << names;
    EXPECT_LT(place_of(*sorted, middle), place_of(*sorted, top)) << names;
  } while (std::next_permutation(names.begin(), names.end()));
}

TEST(Closure, ThatIsNotWholeOrGoesRoundIsRefused) {
  const PathInfo a{.path = path('1'), .references = {path('2')}};
  const PathInfo b{.path = path('2'), .references = {path('1')}};
  EXPECT_FALSE(sort_references_first({a}));
  EXPECT_FALSE(sort_references_first({a, b}));
}

}  // namespace
}  // namespace flurry::nix
