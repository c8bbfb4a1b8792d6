#include "cli/verbs/rollout_run.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

namespace flurry {
namespace {

// Whoever could guess it could confirm for us.
TEST(Nonce, IsAnotherEachTime) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    const std::string nonce = make_nonce();
    EXPECT_EQ(nonce.size(), 32u);
    EXPECT_EQ(nonce.find_first_not_of("0123456789abcdef"), std::string::npos) << nonce;
    EXPECT_TRUE(seen.insert(nonce).second) << nonce;
  }
  for (size_t at = 0; at < 32; ++at) {
    std::set<char> digits;
    for (const auto& nonce : seen) digits.insert(nonce[at]);
    EXPECT_GT(digits.size(), 4u) << "digit " << at << " hardly changes";
  }
}

TEST(Agreed, OnlyAYesIsOne) {
  for (const char* yes : {"y", "Y", "yes"}) EXPECT_TRUE(is_yes(yes)) << yes;
  for (const char* no : {"", " ", "n", "N", "no", "q", "yesterday", "what?"}) EXPECT_FALSE(is_yes(no)) << no;
}

TEST(NameSome, NamesEightAndCountsTheRest) {
  Fleet fleet;
  for (int i = 1; i <= 8; ++i) fleet.hosts.push_back({.name = *HostName::parse("h" + std::to_string(i))});
  EXPECT_EQ(name_some(fleet), "h1, h2, h3, h4, h5, h6, h7, h8");
  fleet.hosts.push_back({.name = *HostName::parse("h9")});
  fleet.hosts.push_back({.name = *HostName::parse("h10")});
  EXPECT_EQ(name_some(fleet), "h1, h2, h3, h4, h5, h6, h7, h8 and 2 more");
}

}  // namespace
}  // namespace flurry
