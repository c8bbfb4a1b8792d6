#include "cli/ssh/places.h"

#include <gtest/gtest.h>

namespace flurry::ssh {
namespace {

constexpr TimePoint kStart{Millis(1000)};
using Admitted = std::vector<std::pair<std::string, Places::Who>>;

TEST(Places, LetsInAsManyAsTheLimitAndTheNextWhenOneLeaves) {
  Places places(Millis(3000));
  for (Places::Who who = 1; who <= 3; ++who) places.enter("a", 2, who);
  EXPECT_EQ(places.admit(kStart), (Admitted{{"a", 1}, {"a", 2}}));
  EXPECT_EQ(places.admit(kStart), Admitted{});
  places.leave(1);
  EXPECT_EQ(places.admit(kStart), (Admitted{{"a", 3}}));
}

TEST(Places, OfOnePoolAreNoneOfAnother) {
  Places places(Millis(3000));
  places.enter("first", 1, 1);
  places.enter("first", 1, 2);
  EXPECT_EQ(places.admit(kStart), (Admitted{{"first", 1}}));
  places.enter("urgent", 1, 3);
  EXPECT_EQ(places.admit(kStart), (Admitted{{"urgent", 3}}));
}

TEST(Places, WhoKeepsOneForTooLongHoldsUpNobodyAfterTheLease) {
  Places places(Millis(3000));
  for (Places::Who who = 1; who <= 3; ++who) places.enter("a", 1, who);
  places.admit(kStart);
  EXPECT_EQ(places.next(), kStart + Millis(3000));
  EXPECT_EQ(places.admit(kStart + Millis(2999)), Admitted{});
  EXPECT_EQ(places.admit(kStart + Millis(3000)), (Admitted{{"a", 2}}));
  EXPECT_EQ(places.admit(kStart + Millis(6000)), (Admitted{{"a", 3}}));
  EXPECT_EQ(places.next(), std::nullopt) << "nobody waits";
}

TEST(Places, WhoLeavesBeforeItsTurnIsForgotten) {
  Places places(Millis(3000));
  for (Places::Who who = 1; who <= 3; ++who) places.enter("a", 1, who);
  places.admit(kStart);
  places.leave(2);
  places.leave(1);
  EXPECT_EQ(places.admit(kStart), (Admitted{{"a", 3}}));
}

}  // namespace
}  // namespace flurry::ssh
