#include <string>
#include <utility>
#include <vector>

#include "tests/unit/ssh/sshd_fixture.h"

// A host key that its owner has revoked is accepted by neither way, whatever else vouches for it.

namespace flurry::ssh {
namespace {

class RevokedKeyTest : public SshdTest {
 protected:
  void SetUp() override {
    SshdTest::SetUp();
    known_ = read(path("known_hosts"));
    key_ = known_.substr(known_.find(' ') + 1);
  }
  // Both of the host's keys: the one that is offered next must not be taken instead.
  std::string revoked(const std::string& names) {
    return "@revoked " + names + " " + key_ + "@revoked " + names + " " + read(path("host_ecdsa.pub"));
  }
  Result<std::unique_ptr<Connection>> dial_by(bool is_program) {
    if (!is_program) {
      transport_.reset();
      return dial();
    }
    ProgramTransport program({"ssh", {"-F", path("config")}});
    return program.dial(target(), in(Millis(20'000)));
  }
  void expect_refused(const std::string& more, const std::string& what) {
    for (const char* strict : {"yes", "accept-new", "no"})
      for (const bool is_program : {false, true}) {
        configure(strict_lines() + more + "StrictHostKeyChecking " + strict + "\nIdentityFile " +
                  path("login") + "\n");
        const auto connection = dial_by(is_program);
        ASSERT_FALSE(connection.has_value()) << what << strict << is_program;
        EXPECT_EQ(connection.error().kind, ErrorKind::kRefused) << what << connection.error().message;
        EXPECT_EQ(read(path("known_hosts")).find("\n127.0.0.1"), std::string::npos) << "it was learned";
      }
  }

  std::string known_, key_;
};

TEST_F(RevokedKeyTest, IsRefusedThoughAnotherLineTrustsIt) {
  const std::string name = "[127.0.0.1]:" + std::to_string(port_);
  for (const auto& text : {known_ + revoked(name), revoked(name) + known_, known_ + revoked("*")}) {
    write(path("known_hosts"), text);
    expect_refused("", text);
  }
}

TEST_F(RevokedKeyTest, IsNotLearnedAsNew) {
  write(path("known_hosts"), revoked("[127.0.0.1]:" + std::to_string(port_)));
  expect_refused("", "for its port ");
  write(path("known_hosts"), revoked("127.0.0.1"));
  expect_refused("", "by its plain name, which ssh looks for next ");
}

TEST_F(RevokedKeyTest, IsRefusedWhereOnlyTheSystemsFileSaysSo) {
  write(path("global"), revoked("*"));
  const auto with_global = [&](const std::string& lines) {
    return lines + "GlobalKnownHostsFile " + path("global") + "\n";
  };
  for (const char* strict : {"yes", "accept-new", "no"})
    for (const bool is_program : {false, true}) {
      configure(with_global("UserKnownHostsFile " + path("known_hosts") + "\nStrictHostKeyChecking " +
                            strict + "\nIdentityFile " + path("login") + "\n"));
      EXPECT_FALSE(dial_by(is_program).has_value()) << strict << is_program;
    }
}

TEST_F(RevokedKeyTest, IsRefusedWhereAListOfRevokedKeysNamesIt) {
  write(path("revoked"), read(path("host.pub")) + read(path("host_ecdsa.pub")));
  expect_refused("RevokedHostKeys " + path("revoked") + "\n", "listed ");
  expect_refused("RevokedHostKeys " + path("absent") + "\n", "ssh refuses all where the list is missing ");
}

TEST_F(RevokedKeyTest, OfAJumpHostKeepsUsFromTheHostsBehindIt) {
  for (const char* strict : {"yes", "accept-new", "no"})
    for (const bool is_revoked : {false, true}) {
      write(path("jump_hosts"),
            is_revoked ? revoked("[127.0.0.1]:" + std::to_string(port_)) : read(path("known_hosts")));
      configure("Host jump\n HostName 127.0.0.1\n Port " + std::to_string(port_) + "\n UserKnownHostsFile " +
                path("jump_hosts") + "\nHost 127.0.0.1\n ProxyJump jump\nMatch all\n" + strict_lines() +
                "StrictHostKeyChecking " + strict + "\nIdentityFile " + path("login") + "\n");
      transport_.reset();
      EXPECT_EQ(dial().has_value(), !is_revoked) << strict << (is_revoked ? " revoked" : " known");
    }
}

}  // namespace
}  // namespace flurry::ssh
