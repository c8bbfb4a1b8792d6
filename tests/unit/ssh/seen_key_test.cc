#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "cli/ssh/host_key.h"
#include "core/sys/clock.h"
#include "tests/unit/ssh/sshd_fixture.h"

namespace flurry::ssh {
namespace {

// One run that dials a host twice, whose key nobody vouches for.
class SeenKeyTest : public SshdTest {
 protected:
  void trust_anything(const std::string& known_hosts, const std::string& strict) {
    configure("UserKnownHostsFile " + known_hosts + "\nGlobalKnownHostsFile none\nStrictHostKeyChecking " +
              strict + "\nIdentityFile " + path("login") + "\n");
  }
  Result<std::unique_ptr<Connection>> dial_in_run(bool by_program) {
    auto host = target();
    host.seen = &seen_;
    if (!by_program) return transport().dial(host, in(Millis(20'000)));
    ProgramTransport program({"ssh", {"-F", path("config")}});
    return program.dial(host, in(Millis(20'000)));
  }
  // As another machine, or somebody in between, would show it.
  void change_host_key() {
    std::filesystem::rename(path("stranger"), path("host"));
    std::filesystem::remove(path("host.pub"));
    std::filesystem::remove(path("host_ecdsa"));
    ::kill(sshd_, SIGHUP);
    const auto shows_it = [this] {
      SeenHostKeys other;
      auto host = target();
      host.seen = &other;
      const auto found = transport().dial(host, in(Millis(20'000)));
      return !other.blobs.empty() && other.blobs.begin()->second != seen_.blobs.begin()->second;
    };
    for (int i = 0; i < 200 && !shows_it(); ++i) ::usleep(50'000);
  }

  SeenHostKeys seen_;
};

TEST_F(SeenKeyTest, AKeyThatNoFileKeepsHoldsForTheRunAndIsSaidLoudlyOnce) {
  for (const bool by_program : {false, true}) {
    for (const char* strict : {"no", "accept-new"}) {
      seen_ = {};
      trust_anything("/dev/null", strict);
      EXPECT_TRUE(dial_in_run(by_program).has_value());
      ASSERT_EQ(seen_.warnings.size(), 1u) << by_program << strict;
      EXPECT_TRUE(seen_.warnings[0].starts_with("WARNING: nobody vouches for the host key of [127.0.0.1]:"))
          << seen_.warnings[0];
      EXPECT_TRUE(dial_in_run(!by_program).has_value()) << "the key is the same";
      EXPECT_EQ(seen_.warnings.size(), 1u);
    }
  }
  change_host_key();
  for (const bool by_program : {false, true}) {
    const auto changed = dial_in_run(by_program);
    ASSERT_FALSE(changed.has_value()) << by_program;
    EXPECT_EQ(changed.error().kind, ErrorKind::kRefused) << changed.error().message;
  }
}

TEST_F(SeenKeyTest, AKeyThatAFileKeepsIsLearnedByTheProgramToo) {
  trust_anything(path("new_hosts"), "accept-new");
  EXPECT_TRUE(dial_in_run(true).has_value());
  EXPECT_NE(read(path("new_hosts")).find("ssh-ed25519"), std::string::npos);
  EXPECT_TRUE(seen_.warnings.empty());
}

}  // namespace
}  // namespace flurry::ssh
