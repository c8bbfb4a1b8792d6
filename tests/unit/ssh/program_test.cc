#include <signal.h>
#include <sys/socket.h>

#include "core/sys/clock.h"
#include "tests/unit/ssh/sshd_fixture.h"

namespace flurry::ssh {
namespace {

class ProgramTest : public SshdTest {
 protected:
  Result<std::unique_ptr<Connection>> dial_program() {
    ProgramTransport program({"ssh", {"-F", path("config")}});
    return program.dial(target(), in(Millis(20000)));
  }
};

std::string read_all(int fd) {
  std::string all;
  std::vector<char> buffer(64 << 10);
  for (;;) {
    auto n = sys::read_some(fd, buffer, sys::now() + Millis(10000));
    if (!n || *n == 0) return all;
    all.append(buffer.data(), *n);
  }
}

void expect_works(Connection& connection) {
  const auto soon = [] { return sys::now() + Millis(10000); };
  auto process = connection.exec("cat; echo err >&2; exit 3", soon());
  ASSERT_TRUE(process.has_value()) << process.error().message;
  const int fd = (*process)->io().get();
  ASSERT_TRUE(sys::write_all(fd, "in and out", soon()).has_value());
  ::shutdown(fd, SHUT_WR);
  EXPECT_EQ(read_all(fd), "in and out");
  const auto exit = (*process)->wait(soon());
  ASSERT_TRUE(exit.has_value()) << exit.error().message;
  EXPECT_EQ(exit->exit_code, 3);
  EXPECT_EQ(exit->standard_error, "err\n");
}

TEST_F(ProgramTest, RunsCommands) {
  auto connection = dial_program();
  ASSERT_TRUE(connection.has_value()) << connection.error().message;
  expect_works(**connection);
  auto real = (*connection)->exec("exit 255", in(Millis(5000)));
  ASSERT_TRUE(real.has_value());
  const auto exit = (*real)->wait(in(Millis(5000)));
  ASSERT_TRUE(exit.has_value()) << exit.error().message;
  EXPECT_EQ(exit->exit_code, 255);
  auto lost = (*connection)->exec("cat", in(Millis(5000)));
  ASSERT_TRUE(lost.has_value());
  connection->reset();
  EXPECT_EQ((*lost)->wait(in(Millis(5000))).error().kind, ErrorKind::kUnreachable);
}

TEST_F(ProgramTest, RefusesAsTheOtherDoes) {
  configure(strict_lines() + "IdentityFile " + path("stranger") + "\n");
  EXPECT_EQ(dial_program().error().kind, ErrorKind::kRefused);
  write(path("known_hosts"), "");
  EXPECT_EQ(dial_program().error().kind, ErrorKind::kRefused);
  auto nobody = target();
  nobody.port = 1;
  ProgramTransport program({"ssh", {"-F", path("config")}});
  EXPECT_EQ(program.dial(nobody, in(Millis(5000))).error().kind, ErrorKind::kUnreachable);
}

TEST_F(ProgramTest, ProxyJumpIsHandedOver) {
  // The jump's own ssh gets the same configuration through the command that ssh makes of ProxyJump.
  configure("Host jump\n HostName 127.0.0.1\n Port " + std::to_string(port_) +
            "\nHost 127.0.0.1\n ProxyJump jump\n" + "Match all\n" + strict_lines() + "IdentityFile " +
            path("login") + "\n");
  auto connection = dial();
  ASSERT_TRUE(connection.has_value()) << connection.error().message;
  expect_works(**connection);
  EXPECT_EQ(connections(), 2u) << "one connection to the jump, one through it";
}

}  // namespace
}  // namespace flurry::ssh
