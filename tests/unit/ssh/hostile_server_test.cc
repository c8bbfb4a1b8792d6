#include <arpa/inet.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <fstream>
#include <functional>
#include <future>
#include <latch>
#include <list>
#include <thread>

#include "cli/ssh/encoding.h"
#include "core/sys/clock.h"
#include "tests/unit/ssh/login_server.h"
#include "tests/unit/ssh/sshd_fixture.h"

namespace flurry::ssh {
namespace {

// What stands where a host's sshd should be, and is none: `talk` has each connection.
class FakeServer {
 public:
  explicit FakeServer(std::function<void(int fd)> talk) : talk_(std::move(talk)) {
    listener_ = sys::Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_.get(), 128), 0);
    ::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { accept_all(); });
  }
  ~FakeServer() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
    for (auto& fd : connections_) ::shutdown(fd.get(), SHUT_RDWR);
    for (auto& talker : talkers_) talker.join();
  }
  uint16_t port() const { return port_; }

 private:
  void accept_all() {
    for (;;) {
      sys::Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!fd.is_open()) return;
      connections_.push_back(std::move(fd));
      talkers_.emplace_back([this, peer = connections_.back().get()] { talk_(peer); });
    }
  }

  const std::function<void(int)> talk_;
  sys::Fd listener_;
  uint16_t port_ = 0;
  std::list<sys::Fd> connections_;
  std::list<std::thread> talkers_;
  std::thread thread_;  // last: starts when all else is there
};

bool say(int fd, std::string_view bytes) {
  return sys::write_all(fd, bytes, sys::now() + Millis(20'000)).has_value();
}

std::string number(uint32_t n) {
  return {static_cast<char>(n >> 24), static_cast<char>(n >> 16), static_cast<char>(n >> 8),
          static_cast<char>(n)};
}

// An SSH packet before any key is agreed on.
std::string packet(const std::string& payload) {
  size_t padding = 8 - (payload.size() + 5) % 8;
  if (padding < 4) padding += 8;
  return number(static_cast<uint32_t>(payload.size() + padding + 1)) + static_cast<char>(padding) + payload +
         std::string(padding, '\0');
}

std::string key_exchange_init() {
  std::string payload = "\x14" + std::string(16, 'c');
  for (const std::string list : {"curve25519-sha256", "ssh-ed25519", "aes128-ctr", "aes128-ctr",
                                 "hmac-sha2-256", "hmac-sha2-256", "none", "none", "", ""})
    payload += number(static_cast<uint32_t>(list.size())) + list;
  return packet(payload + std::string(5, '\0'));
}

// The process's memory in use now.
size_t resident_bytes() {
  std::ifstream file("/proc/self/statm");
  size_t total = 0, resident = 0;
  file >> total >> resident;
  return resident * 4096;
}

class HostileServerTest : public SshdTest {
 protected:
  LibsshTransport& quick() {
    TransportOptions options;
    options.handshakes_max = 2;
    options.to_one_server_max = 2;
    options.place_lease = Millis(300);
    options.greeting_timeout = Millis(1500);
    options.handshake_timeout = Millis(1500);
    options.program.arguments = {"-F", path("config")};
    transport_ = std::make_unique<LibsshTransport>(options);
    return *transport_;
  }
  Target at(uint16_t port) const {
    Target other = target();
    other.port = port;
    return other;
  }
};

TEST_F(HostileServerTest, HostsThatAreSilentOrStallHoldUpNoOther) {
  FakeServer silent([](int) {});
  FakeServer stalls([](int fd) { say(fd, "SSH-2.0-stalls\r\n"); });
  quick();
  std::vector<std::thread> held;
  for (int i = 0; i < 40; ++i)
    held.emplace_back([&, i] {
      auto bad = at(i % 2 == 0 ? silent.port() : stalls.port());
      bad.is_urgent = i % 4 > 1;
      EXPECT_FALSE(transport().dial(bad, in(Millis(60'000))).has_value());
    });
  auto urgent = target();
  urgent.is_urgent = true;
  // Less than what one of the bad hosts takes, though twenty of them came first.
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(transport().dial(urgent, in(Millis(4000))).has_value());
  EXPECT_TRUE(dial(Millis(4000)).has_value());
  for (auto& thread : held) thread.join();
}

TEST_F(HostileServerTest, TimeInTheQueueIsNotTheHosts) {
  std::latch has_the_place(1);
  FakeServer stalls([&](int fd) {
    say(fd, "SSH-2.0-stalls\r\n");
    // More than the client's banner: its handshake is under way.
    std::array<char, 4096> buffer;
    for (size_t seen = 0; seen < 300;) {
      const auto n = sys::read_some(fd, buffer, in(Millis(20'000)));
      if (!n || *n == 0) break;
      seen += *n;
    }
    has_the_place.count_down();
  });
  TransportOptions options;
  options.handshakes_max = 1;
  options.place_lease = Millis(4000);
  options.handshake_timeout = Millis(8000);
  options.program.arguments = {"-F", path("config")};
  transport_ = std::make_unique<LibsshTransport>(options);
  auto holder =
      std::async(std::launch::async, [&] { return transport().dial(at(stalls.port()), in(Millis(60'000))); });
  has_the_place.wait();
  EXPECT_TRUE(dial(Millis(2000)).has_value()) << "it waited for longer than it may take";
  EXPECT_FALSE(holder.get().has_value());
}

TEST_F(HostileServerTest, ItIsSaidWhatTheServerDid) {
  FakeServer silent([](int) {});
  FakeServer stalls([](int fd) { say(fd, "SSH-2.0-stalls\r\n"); });
  FakeServer mail([](int fd) {
    say(fd, "220 mail.example.org ESMTP\r\n");
    ::shutdown(fd, SHUT_RDWR);
  });
  FakeServer full([](int fd) { ::shutdown(fd, SHUT_RDWR); });
  const std::pair<uint16_t, const char*> cases[] = {
      {silent.port(), "the port accepts, but sends no SSH banner"},
      {stalls.port(), "the SSH handshake stopped halfway"},
      {mail.port(), "answers \"220 mail.example.org ESMTP\" instead of an SSH banner"},
      {full.port(), "the port accepts, but no SSH banner came"},
  };
  quick();
  for (const auto& [port, words] : cases) {
    const auto connection = transport().dial(at(port), in(Millis(20'000)));
    ASSERT_FALSE(connection.has_value());
    EXPECT_NE(connection.error().message.find(words), std::string::npos) << connection.error().message;
  }
}

TEST_F(HostileServerTest, PacketsThatNobodyAskedForTakeNoMemoryBeforeTheKeyIsChecked) {
  std::atomic<size_t> sent = 0;
  FakeServer floods([&](int fd) {
    if (!say(fd, "SSH-2.0-floods\r\n") || !say(fd, key_exchange_init())) return;
    const std::string unknown = packet("\xc8" + std::string(34'000, 'x'));
    while (say(fd, unknown) && sent < (256 << 20)) sent += unknown.size();
  });
  const size_t before = resident_bytes();
  const auto connection = transport().dial(at(floods.port()), in(Millis(20'000)));
  ASSERT_FALSE(connection.has_value());
  EXPECT_EQ(connection.error().kind, ErrorKind::kRefused) << connection.error().message;
  EXPECT_NE(connection.error().message.find("sends more than SSH needs"), std::string::npos)
      << connection.error().message;
  EXPECT_LT(resident_bytes(), before + (32 << 20));
}

// One that lets us in and then sends what nobody asked for, until we have heard enough.
TEST_F(HostileServerTest, AServerThatFloodsAfterTheLoginTakesLittleMemoryAndIsGivenUp) {
  configure(
      "UserKnownHostsFile /dev/null\nGlobalKnownHostsFile none\nStrictHostKeyChecking no\nIdentityFile " +
      path("login") + "\n");
  std::string data = "\x5e";  // for a channel that there isn't
  put_u32(data, 7);
  put_string(data, std::string(32'000, 'x'));
  std::string request = "\x50";  // wants an answer
  put_string(request, "nonsense@example.org");
  request += '\1';
  for (const auto& [what, payload] :
       {std::pair<std::string, std::string>{"unknown", "\xc8" + std::string(32'000, 'x')},
        {"unasked channel answers", "\x5b" + std::string(32'000, '\0')},
        {"data for no channel", data},
        {"requests", request}}) {
    std::atomic<size_t> sent = 0;
    FakeServer floods([&, payload = payload](int fd) {
      LoginServer server(fd);
      if (!server.let_in()) return;
      while (sent < (64 << 20) && server.send(payload)) sent += payload.size();
      ::shutdown(fd, SHUT_RDWR);
    });
    transport_.reset();
    const size_t before = resident_bytes();
    auto connection = transport().dial(at(floods.port()), in(Millis(20'000)));
    ASSERT_TRUE(connection.has_value()) << what << ": " << connection.error().message;
    auto process = (*connection)->exec("true", in(Millis(20'000)));
    ASSERT_FALSE(process.has_value()) << what;
    EXPECT_LT(resident_bytes(), before + (64 << 20)) << what << " after " << sent << " bytes";
    const bool is_kept = what != "data for no channel";  // which is dropped
    EXPECT_EQ(process.error().message.find("sends more than SSH needs") != std::string::npos, is_kept)
        << what << ": " << process.error().message;
  }
}

}  // namespace
}  // namespace flurry::ssh
