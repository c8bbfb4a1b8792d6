#include "agent/probe_arguments.h"

#include <gtest/gtest.h>

namespace flurry::agent {
namespace {

TEST(ProbeArguments, TakesAUrlApart) {
  const auto plain = parse_url("http://user@web:8080/healthz?deep=1#top");
  ASSERT_TRUE(plain);
  EXPECT_EQ(plain->host, "web");
  EXPECT_EQ(plain->port, "8080");
  EXPECT_EQ(plain->target, "/healthz?deep=1");
  const auto six = parse_url("https://[::1]");
  ASSERT_TRUE(six);
  EXPECT_TRUE(six->is_tls);
  EXPECT_EQ(six->host, "::1");
  EXPECT_EQ(six->port, "443");
  EXPECT_EQ(six->target, "/");
}

// 65616 is 80 where only 16 bits of it are looked at.
TEST(ProbeArguments, RefuseAPortThatIsNone) {
  for (const char* url :
       {"http://web:65616/", "http://web:0/", "http://web:80x/", "http://web:/", "http://web:-80/"})
    EXPECT_FALSE(parse_url(url)) << url;
}

TEST(ProbeArguments, RefuseANumberThatIsNone) {
  EXPECT_TRUE(parse_probe_arguments({"http", "--status", "204", "--timeout-ms", "500"}));
  for (const char* status : {"65736", "99", "2xx", ""})
    EXPECT_FALSE(parse_probe_arguments({"http", "--status", status})) << status;
  for (const char* timeout : {"0", "-5", "99999999999", "5s"})
    EXPECT_FALSE(parse_probe_arguments({"http", "--timeout-ms", timeout})) << timeout;
}

}  // namespace
}  // namespace flurry::agent
