#include <sys/socket.h>

#include <algorithm>
#include <iostream>
#include <thread>

#include "core/sys/clock.h"
#include "tests/unit/ssh/sshd_fixture.h"

namespace flurry::ssh {
namespace {

using ChannelTest = SshdTest;

// Bytes that repeat with no power of two, and a sum that notices their order.
char byte_at(size_t i) { return static_cast<char>(i % 251); }

struct Sum {
  uint64_t value = 14695981039346656037u;
  size_t size = 0;
  void add(std::string_view bytes) {
    for (char c : bytes) value = (value ^ static_cast<unsigned char>(c)) * 1099511628211u;
    size += bytes.size();
  }
};

std::string read_all(int fd) {
  std::string all;
  std::vector<char> buffer(64 << 10);
  for (;;) {
    auto n = sys::read_some(fd, buffer, sys::now() + Millis(30000));
    if (!n || *n == 0) return all;
    all.append(buffer.data(), *n);
  }
}

TEST_F(ChannelTest, ExitStatusSignalAndStderr) {
  const auto connection = must_dial();
  ASSERT_TRUE(connection);
  auto process = connection->exec("echo out; echo err >&2; exit 7", in(Millis(5000)));
  ASSERT_TRUE(process.has_value()) << process.error().message;
  EXPECT_EQ(read_all((*process)->io().get()), "out\n");
  auto exit = (*process)->wait(in(Millis(5000)));
  ASSERT_TRUE(exit.has_value()) << exit.error().message;
  EXPECT_EQ(exit->exit_code, 7);
  EXPECT_EQ(exit->standard_error, "err\n");
  EXPECT_EQ((*process)->wait(in(Millis(0)))->exit_code, 7) << "asking twice answers twice";

  auto killed = connection->exec("kill -KILL $$", in(Millis(5000)));
  ASSERT_TRUE(killed.has_value());
  exit = (*killed)->wait(in(Millis(5000)));
  ASSERT_TRUE(exit.has_value());
  EXPECT_EQ(exit->exit_code, -1);
  EXPECT_EQ(exit->signal, "KILL");

  auto noisy = connection->exec("head -c 3000000 /dev/zero | tr '\\0' x >&2; echo end >&2", in(Millis(5000)));
  ASSERT_TRUE(noisy.has_value());
  exit = (*noisy)->wait(in(Millis(20000)));
  ASSERT_TRUE(exit.has_value()) << exit.error().message;
  EXPECT_EQ(exit->standard_error.size(), size_t{64 << 10});
  EXPECT_TRUE(exit->standard_error.ends_with("xend\n"));
}

TEST_F(ChannelTest, TwoHundredMegabytesBothWays) {
  constexpr size_t kTotal = 200'000'000;
  const auto connection = must_dial();
  ASSERT_TRUE(connection);
  auto process = connection->exec("cat", in(Millis(5000)));
  ASSERT_TRUE(process.has_value());
  const int fd = (*process)->io().get();
  Sum sent, received;
  std::thread writer([&] {
    std::vector<char> block(251 * 1000);
    for (size_t i = 0; i < block.size(); ++i) block[i] = byte_at(i);
    while (sent.size < kTotal) {
      const std::string_view bytes(block.data(), std::min(block.size(), kTotal - sent.size));
      sent.add(bytes);
      ASSERT_TRUE(sys::write_all(fd, bytes, sys::now() + Millis(60000)).has_value());
    }
    ::shutdown(fd, SHUT_WR);
  });
  std::vector<char> buffer(256 << 10);
  for (;;) {
    auto n = sys::read_some(fd, buffer, in(Millis(60000)));
    if (!n || *n == 0) break;
    received.add({buffer.data(), *n});
  }
  writer.join();
  EXPECT_EQ(received.size, kTotal);
  EXPECT_EQ(received.value, sent.value);
  EXPECT_EQ((*process)->wait(in(Millis(5000)))->exit_code, 0);
}

// Only tells the figures: what a busy machine reaches proves nothing.
TEST_F(ChannelTest, Throughput) {
  constexpr size_t kTotal = 100'000'000;
  const auto connection = must_dial();
  ASSERT_TRUE(connection);
  const std::string block(1 << 20, 'x');
  auto up = connection->exec("cat > /dev/null", in(Millis(5000)));
  ASSERT_TRUE(up.has_value());
  auto begin = sys::now();
  for (size_t done = 0; done < kTotal; done += block.size())
    ASSERT_TRUE(sys::write_all((*up)->io().get(), block, in(Millis(60000))).has_value());
  ::shutdown((*up)->io().get(), SHUT_WR);
  ASSERT_TRUE((*up)->wait(in(Millis(60000))).has_value());
  std::cout << "up   " << kTotal / 1000 / (sys::now() - begin).count() << " MB/s\n";

  auto down = connection->exec("head -c 100000000 /dev/zero", in(Millis(5000)));
  ASSERT_TRUE(down.has_value());
  begin = sys::now();
  size_t got = 0;
  std::vector<char> buffer(256 << 10);
  for (;;) {
    auto n = sys::read_some((*down)->io().get(), buffer, in(Millis(60000)));
    if (!n || *n == 0) break;
    got += *n;
  }
  EXPECT_EQ(got, kTotal);
  std::cout << "down " << kTotal / 1000 / (sys::now() - begin).count() << " MB/s\n";
}

TEST_F(ChannelTest, TwentyAtOnceOneOfThemStuck) {
  const auto connection = must_dial();
  ASSERT_TRUE(connection);
  // Nobody reads this one: it must hold up no other.
  auto stuck = connection->exec("cat /dev/zero", in(Millis(5000)));
  ASSERT_TRUE(stuck.has_value());
  std::vector<std::thread> threads;
  for (int i = 0; i < 20; ++i)
    threads.emplace_back([&, i] {
      auto process =
          connection->exec("head -c 3000000 /dev/zero; exit " + std::to_string(i), in(Millis(20000)));
      ASSERT_TRUE(process.has_value()) << process.error().message;
      EXPECT_EQ(read_all((*process)->io().get()).size(), 3'000'000u);
      EXPECT_EQ((*process)->wait(in(Millis(20000)))->exit_code, i);
    });
  for (auto& t : threads) t.join();
}

TEST_F(ChannelTest, HalfClose) {
  const auto connection = must_dial();
  ASSERT_TRUE(connection);
  auto sum = connection->exec("wc -c", in(Millis(5000)));
  ASSERT_TRUE(sum.has_value());
  const int fd = (*sum)->io().get();
  ASSERT_TRUE(sys::write_all(fd, "12345", in(Millis(5000))).has_value());
  ::shutdown(fd, SHUT_WR);
  EXPECT_EQ(std::stoi(read_all(fd)), 5) << "stdout goes on after the end of stdin";

  auto quiet = connection->exec("exec >&-; read x; exit $x", in(Millis(5000)));
  ASSERT_TRUE(quiet.has_value());
  auto closed = connection->exec("cat > '" + path("copy") + "'", in(Millis(5000)));
  ASSERT_TRUE(closed.has_value());
  ASSERT_TRUE(sys::write_all((*closed)->io().get(), "whole", in(Millis(5000))).has_value());
  (*closed)->io().reset();
  EXPECT_EQ((*closed)->wait(in(Millis(5000)))->exit_code, 0) << "what was written before the close arrives";
  EXPECT_EQ(read(path("copy")), "whole");
  ASSERT_TRUE(sys::write_all((*quiet)->io().get(), "9\n", in(Millis(5000))).has_value());
  EXPECT_EQ((*quiet)->wait(in(Millis(5000)))->exit_code, 9);
}

TEST_F(ChannelTest, ClosedReaderEndsTheCommand) {
  const auto connection = must_dial();
  ASSERT_TRUE(connection);
  auto endless = connection->exec("cat /dev/zero", in(Millis(5000)));
  ASSERT_TRUE(endless.has_value());
  (*endless)->io().reset();
  EXPECT_FALSE((*endless)->wait(in(Millis(5000))).has_value());
}

TEST_F(ChannelTest, DestroyedInAnyOrder) {
  auto connection = must_dial();
  ASSERT_TRUE(connection);
  auto first = connection->exec("cat", in(Millis(5000)));
  auto second = connection->exec("cat /dev/zero", in(Millis(5000)));
  ASSERT_TRUE(first.has_value());
  ASSERT_TRUE(second.has_value());
  second->reset();
  connection.reset();
  const auto exit = (*first)->wait(in(Millis(5000)));
  ASSERT_FALSE(exit.has_value());
  EXPECT_EQ(exit.error().kind, ErrorKind::kUnreachable) << exit.error().message;
  EXPECT_EQ(read_all((*first)->io().get()), "");
}

}  // namespace
}  // namespace flurry::ssh
