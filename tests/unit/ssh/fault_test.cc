#include <arpa/inet.h>
#include <signal.h>
#include <sys/socket.h>

#include <latch>

#include "cli/ssh/tcp.h"
#include "core/sys/clock.h"
#include "tests/unit/ssh/sshd_fixture.h"

namespace flurry::ssh {
namespace {

using FaultTest = SshdTest;

std::latch& name_service_is_back() {
  static std::latch latch(1);
  return latch;
}

TEST(Resolve, KeepsItsDeadlineWhileTheNameServiceHangs) {
  const auto hangs = [](const char*, const char*, const addrinfo*, addrinfo**) {
    name_service_is_back().wait();
    return EAI_FAIL;
  };
  const auto found = resolve("web-01", 22, AF_UNSPEC, sys::now() + Millis(50), hangs);
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().kind, ErrorKind::kTimedOut);
  EXPECT_NE(found.error().message.find("web-01"), std::string::npos);
  name_service_is_back().count_down();
}

TEST(Resolve, FindsAddressesAndSaysWhatIsNoName) {
  EXPECT_TRUE(resolve("127.0.0.1", 22, AF_UNSPEC, sys::now() + Millis(5000)));
  const auto none = resolve("no such name", 22, AF_UNSPEC, sys::now() + Millis(5000));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().kind, ErrorKind::kUnreachable);
}

TEST_F(FaultTest, KilledServerEndsProcesses) {
  const auto connection = must_dial();
  ASSERT_TRUE(connection);
  auto process = connection->exec("cat", in(Millis(5000)));
  ASSERT_TRUE(process.has_value());
  const auto begin = sys::now();
  for (pid_t pid : session_pids()) ::kill(pid, SIGKILL);
  const auto exit = (*process)->wait(in(Millis(17000)));
  ASSERT_FALSE(exit.has_value());
  EXPECT_EQ(exit.error().kind, ErrorKind::kUnreachable);
  EXPECT_LT((sys::now() - begin).count(), 17000);
  const auto later = connection->exec("true", in(Millis(5000)));
  ASSERT_FALSE(later.has_value());
  EXPECT_EQ(later.error().kind, ErrorKind::kUnreachable);
}

TEST_F(FaultTest, FrozenServerIsNoticed) {
  const auto connection = must_dial();
  ASSERT_TRUE(connection);
  auto process = connection->exec("cat", in(Millis(5000)));
  ASSERT_TRUE(process.has_value());
  const auto pids = session_pids();
  ASSERT_FALSE(pids.empty());
  for (pid_t pid : pids) ::kill(pid, SIGSTOP);
  const auto begin = sys::now();
  const auto late = connection->exec("true", in(Millis(300)));
  ASSERT_FALSE(late.has_value());
  EXPECT_EQ(late.error().kind, ErrorKind::kTimedOut);
  EXPECT_LT((sys::now() - begin).count(), 2000);
  const auto exit = (*process)->wait(in(Millis(25000)));
  for (pid_t pid : pids) ::kill(pid, SIGCONT);
  ASSERT_FALSE(exit.has_value());
  EXPECT_EQ(exit.error().kind, ErrorKind::kUnreachable) << exit.error().message;
}

TEST_F(FaultTest, SilentListenerAndNobodyThere) {
  const sys::Fd silent(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  ASSERT_EQ(::bind(silent.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
  ::getsockname(silent.get(), reinterpret_cast<sockaddr*>(&address), &size);
  auto wrong = target();
  wrong.port = ntohs(address.sin_port);

  const auto refused = transport().dial(wrong, in(Millis(5000)));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnreachable) << refused.error().message;

  ASSERT_EQ(::listen(silent.get(), 5), 0);
  const auto begin = sys::now();
  const auto connection = transport().dial(wrong, in(Millis(700)));
  ASSERT_FALSE(connection.has_value());
  EXPECT_EQ(connection.error().kind, ErrorKind::kTimedOut) << connection.error().message;
  EXPECT_LT((sys::now() - begin).count(), 3000);

  // The next address is tried where one doesn't answer.
  auto two = target();
  two.addresses = {"127.0.0.2", "127.0.0.1"};
  EXPECT_TRUE(transport().dial(two, in(Millis(20000))).has_value());
}

}  // namespace
}  // namespace flurry::ssh
