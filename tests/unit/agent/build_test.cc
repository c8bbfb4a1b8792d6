#include "agent/build.h"

#include <gtest/gtest.h>

#include "core/sys/clock.h"
#include "core/sys/fd.h"

namespace flurry::agent {
namespace {

const std::string kId = "01ARZ3NDEKTSV4RRFFQ69G5FAV";
const std::string kPath = "/nix/store/00000000000000000000000000000000-x";

TimePoint soon() { return sys::now() + Millis(10'000); }

// What stands on a command line, every user of the host can read.
TEST(Build, TakesNoSettingsAsWords) {
  EXPECT_TRUE(parse_build_words({kId, kPath + ".drv", kPath}));
  EXPECT_FALSE(parse_build_words({kId, kPath + ".drv", kPath, "access-tokens", "github.com=secret"}));
  EXPECT_FALSE(parse_build_words({kId, kPath, kPath}));
}

TEST(Build, ReadsItsSettingsAndNothingBehindThem) {
  auto ends = *sys::socket_pair();
  ASSERT_TRUE(sys::write_all(ends.first.get(), std::string("sandbox = false\n\0x", 18), soon()));
  const auto settings = read_build_settings(ends.second.get(), soon());
  ASSERT_TRUE(settings) << settings.error().message;
  EXPECT_EQ(*settings, "sandbox = false\n");
  char rest[4];
  EXPECT_EQ(*sys::read_some(ends.second.get(), rest, soon()), 1u);
}

TEST(Build, BeginsOnlyWithAllItsSettings) {
  auto cut = *sys::socket_pair();
  ASSERT_TRUE(sys::write_all(cut.first.get(), "sandbox = fal", soon()));
  EXPECT_EQ(read_build_settings(cut.second.get(), sys::now() + Millis(20)).error().kind,
            ErrorKind::kTimedOut);
  cut.first.reset();
  EXPECT_EQ(read_build_settings(cut.second.get(), soon()).error().kind, ErrorKind::kFailed);
  auto endless = *sys::socket_pair();
  ASSERT_TRUE(sys::write_all(endless.first.get(), std::string(70 << 10, 'a'), soon()));
  EXPECT_EQ(read_build_settings(endless.second.get(), soon()).error().kind, ErrorKind::kInvalidInput);
}

}  // namespace
}  // namespace flurry::agent
