#include "core/selector.h"

#include <gtest/gtest.h>

#include "core/spelling.h"

namespace flurry {
namespace {

HostConfig host(const std::string& name, std::vector<std::string> tags) {
  HostConfig config{.name = *HostName::parse(name)};
  config.tags = std::move(tags);
  return config;
}

Fleet fleet() {
  Fleet f;
  f.hosts = {host("db-01", {"db", "eu"}), host("db-02", {"db", "us"}), host("web-01", {"eu", "web"}),
             host("web-02", {"us", "web"}), host("web-03.example.org", {"web"})};
  return f;
}

// "0 2", or the error's message.
std::string chosen(const std::string& text) {
  const auto selector = Selector::parse(text);
  if (!selector) return selector.error().message;
  const auto hosts = selector->select(fleet());
  if (!hosts) return hosts.error().message;
  std::string out;
  for (size_t i : *hosts) out += (out.empty() ? "" : " ") + std::to_string(i);
  return out;
}

// As deploy-rs names one profile of a host.
TEST(Selector, AProfileBehindAHostsNameStandsForThatHost) {
  EXPECT_EQ(chosen("web-01.system"), "2");
  EXPECT_EQ(chosen("web-03.example.org"), "4") << "a name with dots is a name first";
  EXPECT_EQ(chosen("web-03.example.org.home,db-01"), "0 4");
  EXPECT_EQ(chosen("web-09.system"), "selector: no host is named 'web-09.system' (flurry hosts lists all)");
  const auto profiles = Selector::parse("web-03.example.org.home,db-01")->profiles(fleet());
  ASSERT_EQ(profiles.size(), 1u);
  EXPECT_EQ(profiles[0].host, 4u);
  EXPECT_EQ(profiles[0].profile, "home");
}

TEST(Selector, Selects) {
  const std::pair<const char*, const char*> cases[] = {
      {"web-01", "2"},
      {"web-02,db-01", "0 3"},
      {" web-02 , db-01 ", "0 3"},
      {"*", "0 1 2 3 4"},
      {"web-*", "2 3 4"},
      {"*.example.org", "4"},
      {"web-0?", "2 3"},
      {"*-0[12]", "0 1 2 3"},
      {"*-0[1-2]", "0 1 2 3"},
      {"web-0[!1]", "3"},
      {"web-0[^1]*", "3 4"},
      {"@db", "0 1"},
      {"@d*", "0 1"},
      {"@web&@eu", "2"},
      {"@db,@web&@eu", "0 1 2"},
      {"(@db,@web)&@eu", "0 2"},
      {"!@db", "2 3 4"},
      {"!@db&!@us", "2 4"},
      {"! ( @db , @us )", "2 4"},
      {"!!@db", "0 1"},
      {"@web & ! web-01", "3 4"},
      {"((((web-01))))", "2"},
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(chosen(text), expected) << text;
}

TEST(Selector, SaysWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "selector: empty"},
      {"  ", "selector: empty"},
      {"web-1", "selector: no host is named 'web-1' (did you mean 'web-01'?)"},
      {"WEB-01", "selector: no host is named 'WEB-01' (did you mean 'web-01'?)"},
      {"zebra", "selector: no host is named 'zebra' (flurry hosts lists all)"},
      {"web", "selector: no host is named 'web', but it is a tag: write '@web'"},
      {"@wbe", "selector: no host has the tag 'wbe' (did you mean 'web'?)"},
      {"*,@wbe", "selector: no host has the tag 'wbe' (did you mean 'web'?)"},
      {"x*", "selector: 'x*' matches no host (flurry hosts lists all)"},
      {"@db&@web", "selector: '@db&@web' matches no host (flurry hosts lists all)"},
      {"a,,b", "selector: expected a name, a glob or @tag at position 3\n  a,,b\n    ^"},
      {"a,", "selector: expected a name, a glob or @tag at position 3\n  a,\n    ^"},
      {"a b", "selector: expected ',' '&' or the end at position 3\n  a b\n    ^"},
      {"(a b)", "selector: expected ',' '&' or ')' at position 4\n  (a b)\n     ^"},
      {"(a,b", "selector: '(' without ')' at position 1\n  (a,b\n  ^"},
      {"a)", "selector: ')' without '(' at position 2\n  a)\n   ^"},
      {"@", "selector: '@' without a tag at position 1\n  @\n  ^"},
      {"!", "selector: expected a name, a glob or @tag at position 2\n  !\n   ^"},
      {"a!b", "selector: expected ',' '&' or the end at position 2\n  a!b\n   ^"},
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(chosen(text), expected) << text;
}

TEST(Selector, BoundsNestingAndLength) {
  const std::string deep = std::string(100, '(') + "web-01" + std::string(100, ')');
  EXPECT_NE(chosen(deep).find("nested too deeply at position 66"), std::string::npos) << chosen(deep);
  EXPECT_EQ(chosen(std::string(64, '(') + "web-01" + std::string(64, ')')), "2");
  EXPECT_EQ(chosen(std::string(20000, 'a')), "selector: longer than 16384 bytes");
  EXPECT_EQ(chosen(std::string(10001, '!') + "web-01"), "0 1 3 4");
}

TEST(Glob, Matches) {
  EXPECT_TRUE(glob_matches("", ""));
  EXPECT_FALSE(glob_matches("", "a"));
  EXPECT_TRUE(glob_matches("**", ""));
  EXPECT_TRUE(glob_matches("a*b*c", "aXbXbc"));
  EXPECT_FALSE(glob_matches("a*b*c", "aXbXb"));
  EXPECT_TRUE(glob_matches("[]]", "]"));
  EXPECT_TRUE(glob_matches("[a", "[a"));
  EXPECT_FALSE(glob_matches("[!a-c]", "b"));
  EXPECT_FALSE(glob_matches("?", ""));
  const std::string hostile(200, 'a');
  EXPECT_FALSE(glob_matches("*a*a*a*a*a*a*a*a*a*a*b", hostile));
}

TEST(Spelling, FindsTheNearest) {
  const std::vector<std::string> fields{"url", "method", "targetHost", "targetPort"};
  EXPECT_EQ(nearest_spelling("urll", fields), "url");
  EXPECT_EQ(nearest_spelling("tagretHost", fields), "targetHost");
  EXPECT_EQ(nearest_spelling("targethost", fields), "targetHost");
  EXPECT_EQ(nearest_spelling("ulr", fields), "url");
  EXPECT_EQ(nearest_spelling("x", fields), "");
  EXPECT_EQ(nearest_spelling("completelyElse", fields), "");
  EXPECT_EQ(nearest_spelling("", fields), "");
  EXPECT_EQ(quote("a\x1b[31m"), "'a?[31m'");
}

}  // namespace
}  // namespace flurry
