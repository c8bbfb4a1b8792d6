#include "core/fleet.h"

#include <gtest/gtest.h>

namespace flurry {
namespace {

HostConfig host(const std::string& name, const std::string& address, std::optional<uint16_t> port = {}) {
  HostConfig config{.name = *HostName::parse(name)};
  config.target_hosts = {address};
  config.target_port = port;
  return config;
}

TEST(DoubtfulAddresses, AreThoseThatTwoHostsHave) {
  Fleet fleet;
  fleet.hosts = {host("a", "203.0.113.1"), host("b", "203.0.113.2"), host("c", "203.0.113.1"),
                 host("d", "203.0.113.1")};
  EXPECT_EQ(
      doubtful_addresses(fleet),
      std::vector<std::string>{"a, c and d have the same address, 203.0.113.1: if they are one machine, the "
                               "second deployment finds it held by the first"});
}

TEST(DoubtfulAddresses, AreNotThoseOfOtherPortsOrBehindAnotherJumpHost) {
  Fleet fleet;
  fleet.hosts = {host("a", "203.0.113.1"), host("b", "203.0.113.1", 2222), host("c", "203.0.113.1")};
  fleet.hosts[2].ssh_options = {"-J", "bastion"};
  EXPECT_TRUE(doubtful_addresses(fleet).empty());
}

}  // namespace
}  // namespace flurry
