#include "core/nix/daemon.h"

#include <future>
#include <utility>

#include "fake_daemon.h"

namespace flurry::nix {
namespace {

using Peer = FakeDaemon::Peer;
constexpr uint64_t kLast = 0x616c7473;
constexpr uint64_t kError = 0x63787470;
const char* const kPath = "/nix/store/7rjqb838snvvxcmpvck1smfxhkwzqal5-a";

StorePath path() { return *StorePath::parse(kPath); }

std::string hex(const char* digits) {
  std::string out;
  for (; digits[0] != '\0'; digits += 2)
    out += static_cast<char>(std::stoi(std::string(digits, 2), nullptr, 16));
  return out;
}

TEST(Daemon, ShakesHandsAsRecordedWithNix28) {
  FakeDaemon fake([](Peer& peer) {
    peer.expect(hex("6378696e000000002601000000000000"));
    peer.say(hex("6f697864000000002201000000000000"));
    peer.expect(hex("00000000000000000000000000000000"));
    peer.say(hex("0500000000000000322e382e30000000") + hex("73746c6100000000"));
    peer.expect(words({1}) + wire_str(kPath));
    peer.say(hex("73746c6100000000") + hex("0000000000000000"));
  });
  auto daemon = Daemon::open(fake.take_client(), soon());
  ASSERT_TRUE(daemon) << daemon.error().message;
  EXPECT_EQ(daemon->nix_version(), "2.8.0");
  EXPECT_EQ(daemon->protocol_minor(), 34u);
  const auto valid = daemon->is_valid_path(path(), soon());
  ASSERT_TRUE(valid);
  EXPECT_FALSE(*valid);
}

TEST(Daemon, SpeaksOldAndNewVersions) {
  for (const unsigned minor : {21u, 26u, 33u, 35u, 37u, 38u}) {
    FakeDaemon fake([minor](Peer& peer) { peer.greet(minor); });
    auto daemon = Daemon::open(fake.take_client(), soon());
    ASSERT_TRUE(daemon) << minor << daemon.error().message;
    EXPECT_EQ(daemon->protocol_minor(), minor);
    EXPECT_EQ(daemon->trust(), minor >= 35 ? Trust::kTrusted : Trust::kUnknown);
    EXPECT_EQ(daemon->nix_version(), minor == 21 ? "2.2-2.3" : minor < 33 ? "2.4-2.6" : "2.99");
  }
}

TEST(Daemon, RefusesWhatIsTooOldOrNoDaemon) {
  FakeDaemon old([](Peer& peer) {
    peer.expect(words({0x6e697863, 0x126}));
    peer.say(words({0x6478696f, 0x114}));
  });
  const auto refused = Daemon::open(old.take_client(), soon());
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kUnsupported);
  FakeDaemon shell([](Peer& peer) {
    peer.expect(words({0x6e697863, 0x126}));
    peer.say("Welcome to this host, dear user");
  });
  const auto noise = Daemon::open(shell.take_client(), soon());
  ASSERT_FALSE(noise);
  EXPECT_EQ(noise.error().kind, ErrorKind::kInvalidInput);
}

TEST(Daemon, SaysThatAnOldDaemonCannotReceivePaths) {
  FakeDaemon fake([](Peer& peer) { peer.greet(21); });
  auto daemon = Daemon::open(fake.take_client(), soon());
  const PathInfo info{.path = path(), .nar_hash = std::string(64, '0')};
  const auto added = daemon->add_to_store_nar(
      info, [] { return std::string_view(); }, Millis(1000));
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().kind, ErrorKind::kUnsupported);
  EXPECT_NE(added.error().message.find("2.2-2.3"), std::string::npos) << added.error().message;
}

std::string error_message(unsigned minor, const std::string& text) {
  if (minor < 26) return words({kError}) + wire_str(text) + words({1});
  return words({kError}) + wire_str("Error") + words({0}) + wire_str("Error") + wire_str(text) +
         words({0, 1, 0}) + wire_str("while trying");
}

TEST(Daemon, TellsErrorsWithoutColoursAndGoesOn) {
  for (const unsigned minor : {21u, 34u}) {
    FakeDaemon fake([minor](Peer& peer) {
      peer.greet(minor);
      peer.expect(words({1}) + wire_str(kPath));
      peer.say(words({0x6f6c6d67}) + wire_str("a log line"));
      peer.say(error_message(minor, "\x1b[31;1mpath is bad\x1b[0m"));
      peer.expect(words({1}) + wire_str(kPath));
      peer.say(words({kLast, 1}));
    });
    auto daemon = Daemon::open(fake.take_client(), soon());
    const auto failed = daemon->is_valid_path(path(), soon());
    ASSERT_FALSE(failed);
    EXPECT_EQ(failed.error().message,
              minor < 26 ? "nix daemon: path is bad" : "nix daemon: path is bad\nwhile trying");
    const auto again = daemon->is_valid_path(path(), soon());
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_TRUE(*again);
  }
}

TEST(Daemon, RefusesFurtherUseAfterABrokenMessage) {
  FakeDaemon fake([](Peer& peer) {
    peer.greet(34);
    peer.expect(words({1}) + wire_str(kPath));
    peer.say(words({0x64617461, 100}));  // asks for data that this operation does not have
  });
  auto daemon = Daemon::open(fake.take_client(), soon());
  EXPECT_FALSE(daemon->is_valid_path(path(), soon()));
  const auto later = daemon->is_valid_path(path(), soon());
  ASSERT_FALSE(later);
  EXPECT_NE(later.error().message.find("given up"), std::string::npos);
}

TEST(Daemon, KeepsItsDeadline) {
  FakeDaemon fake([](Peer& peer) {
    peer.greet(34);
    peer.expect(words({1}) + wire_str(kPath));
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
  });
  auto daemon = Daemon::open(fake.take_client(), soon());
  const auto late = daemon->is_valid_path(path(), sys::now() + Millis(30));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().kind, ErrorKind::kTimedOut);
}

TEST(Daemon, StopsStreamingAtAnEarlyErrorAndStillEndsTheFrames) {
  std::promise<void> second_frame, has_failed;
  FakeDaemon fake([&](Peer& peer) {
    peer.greet(34);
    std::string request = words({39}) + wire_str(kPath) + wire_str("") + wire_str(std::string(64, '0'));
    request += words({0, 0, 1 << 20, 0, 0}) + wire_str("") + words({0, 1});
    peer.expect(request + words({65536}) + std::string(65536, 'x'));
    second_frame.get_future().wait_for(std::chrono::seconds(5));
    peer.say(error_message(34, "No space left on device"));
    has_failed.set_value();
    peer.expect(words({65536}) + std::string(65536, 'x') + words({0}));
    peer.expect(words({1}) + wire_str(kPath));
    peer.say(words({kLast, 0}));
  });
  auto daemon = Daemon::open(fake.take_client(), soon());
  const PathInfo info{.path = path(), .nar_hash = std::string(64, '0'), .nar_size = 1 << 20};
  int frames = 0;
  const std::string piece(65536, 'x');
  const auto source = [&]() -> Result<std::string_view> {
    if (++frames == 2) {
      second_frame.set_value();
      has_failed.get_future().wait_for(std::chrono::seconds(5));
    }
    return std::string_view(piece);
  };
  const auto added = daemon->add_to_store_nar(info, source, Millis(5000));
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().kind, ErrorKind::kNoSpace);
  EXPECT_EQ(frames, 2);
  EXPECT_TRUE(daemon->is_valid_path(path(), soon()));
}

// The paths of an import: "a", "b", … each with a NAR of its own eight letters.
struct Letters {
  explicit Letters(size_t how_many) : count(how_many) {}

  static StorePath path_of(char letter) {
    return *StorePath::parse("/nix/store/" + std::string(32, '0') + "-" + letter);
  }
  static std::string nar(char letter) { return std::string(8, letter); }
  static std::string request(char letter) {
    return words({39}) + wire_str(path_of(letter).str()) + wire_str("") + wire_str(std::string(64, '0')) +
           words({0, 0, 8, 0, 0}) + wire_str("") + words({0, 1});
  }
  static std::string whole(char letter) { return request(letter) + words({8}) + nar(letter) + words({0}); }

  Result<void> give_to(Daemon& daemon) {
    const PathStream paths{.next = [this]() -> Result<std::optional<PathInfo>> {
                             if (given == count) return std::optional<PathInfo>();
                             if (given == 1 && before_second) before_second();
                             const char letter = static_cast<char>('a' + given++);
                             rest = nar(letter);
                             return std::optional(PathInfo{
                                 .path = path_of(letter), .nar_hash = std::string(64, '0'), .nar_size = 8});
                           },
                           .nar = [this]() -> Result<std::string_view> {
                             if (given == fails_at) return Error{ErrorKind::kInvalidInput, "no such letter"};
                             piece = std::exchange(rest, "");
                             return std::string_view(piece);
                           },
                           .is_ready = is_ready};
    return daemon.add_paths(
        paths, [this](size_t n) { stored += n; }, Millis(5000));
  }

  size_t count;
  size_t fails_at = 0;  // the source of which path, counted from 1
  size_t given = 0;
  size_t stored = 0;
  std::function<bool()> is_ready;
  std::function<void()> before_second;  // path
  std::string rest, piece;
};

TEST(Daemon, GivesThePathsThatFollowBeforeTheFirstIsAnswered) {
  FakeDaemon fake([](Peer& peer) {
    peer.greet(34);
    peer.expect(Letters::whole('a') + Letters::whole('b') + Letters::whole('c'));
    peer.say(words({kLast, kLast, kLast}));
  });
  auto daemon = Daemon::open(fake.take_client(), soon());
  Letters letters(3);
  const auto added = letters.give_to(*daemon);
  ASSERT_TRUE(added) << added.error().message;
  EXPECT_EQ(letters.stored, 3u);
}

TEST(Daemon, WhatWasGivenIsOutBeforeMoreHasToBeWaitedFor) {
  std::promise<void> has_first;
  FakeDaemon fake([&](Peer& peer) {
    peer.greet(34);
    peer.expect(Letters::whole('a'));
    has_first.set_value();
    peer.expect(Letters::whole('b') + Letters::whole('c'));
    peer.say(words({kLast, kLast, kLast}));
  });
  auto daemon = Daemon::open(fake.take_client(), soon());
  Letters letters(3);
  bool was_out = false;
  letters.is_ready = [] { return false; };
  letters.before_second = [&] {
    was_out = has_first.get_future().wait_for(std::chrono::seconds(5)) == std::future_status::ready;
  };
  const auto added = letters.give_to(*daemon);
  ASSERT_TRUE(added) << added.error().message;
  EXPECT_TRUE(was_out);
}

TEST(Daemon, NothingMoreIsAskedForOnceAPathIsRefused) {
  std::promise<void> is_asked_again, has_refused;
  FakeDaemon fake([&](Peer& peer) {
    peer.greet(34);
    peer.expect(Letters::request('a') + words({3}) + "aaa");
    is_asked_again.get_future().wait_for(std::chrono::seconds(5));
    peer.say(error_message(34, "a is bad"));
    has_refused.set_value();
    peer.expect(words({3}) + "aaa" + words({0}));
  });
  auto daemon = Daemon::open(fake.take_client(), soon());
  Letters letters(1);
  int asked = 0;
  const auto piece = [&]() -> Result<std::string_view> {
    if (++asked == 2) {
      is_asked_again.set_value();
      has_refused.get_future().wait_for(std::chrono::seconds(5));
    }
    return std::string_view("aaa");
  };
  const PathInfo info{.path = Letters::path_of('a'), .nar_hash = std::string(64, '0'), .nar_size = 8};
  EXPECT_FALSE(daemon->add_to_store_nar(info, piece, Millis(5000)));
  EXPECT_EQ(asked, 2);
}

TEST(Daemon, WhatIsReadyGoesOutTogether) {
  FakeDaemon fake([&](Peer& peer) {
    peer.greet(34);
    const std::string all = Letters::whole('a') + Letters::whole('b') + Letters::whole('c');
    EXPECT_EQ(peer.read_some(), all);
    peer.say(words({kLast, kLast, kLast}));
  });
  auto daemon = Daemon::open(fake.take_client(), soon());
  Letters letters(3);
  letters.is_ready = [] { return true; };
  const auto added = letters.give_to(*daemon);
  ASSERT_TRUE(added) << added.error().message;
}

TEST(Daemon, ARefusalIsOfThePathThatItAnswersAndTheConnectionGoesOn) {
  FakeDaemon fake([](Peer& peer) {
    peer.greet(34);
    peer.expect(Letters::whole('a') + Letters::whole('b') + Letters::whole('c'));
    peer.say(words({kLast}) + error_message(34, "b is bad") + error_message(34, "c refers to b"));
    peer.expect(words({1}) + wire_str(kPath));
    peer.say(words({kLast, 1}));
  });
  auto daemon = Daemon::open(fake.take_client(), soon());
  Letters letters(3);
  const auto added = letters.give_to(*daemon);
  ASSERT_FALSE(added);
  EXPECT_NE(added.error().message.find("b is bad"), std::string::npos) << added.error().message;
  EXPECT_EQ(letters.stored, 1u);
  EXPECT_TRUE(daemon->is_valid_path(path(), soon()));
}

TEST(Daemon, WhatWasSentWholeIsRegisteredWhenThePathAfterItIsCutShort) {
  FakeDaemon fake([](Peer& peer) {
    peer.greet(34);
    peer.expect(Letters::whole('a') + Letters::request('b') + words({0}));
    peer.say(words({kLast}) + error_message(34, "half a NAR"));
  });
  auto daemon = Daemon::open(fake.take_client(), soon());
  Letters letters(3);
  letters.fails_at = 2;
  const auto added = letters.give_to(*daemon);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().message, "no such letter");
  EXPECT_EQ(letters.stored, 1u);
  EXPECT_EQ(letters.given, 2u);
}

TEST(WireStream, RefusesLengthsBeyondItsBounds) {
  for (const std::string& bytes : {words({~0ull}), words({kPathTextMax + 1}),
                                   words({1}) + std::string("a\0\0\0x\0\0\0", 8), words({5}) + "ab"}) {
    auto ends = sys::socket_pair();
    ASSERT_TRUE(sys::write_all(ends->first.get(), bytes, soon()));
    ends->first.reset();
    WireStream stream(ends->second.get());
    stream.set_deadline(soon());
    EXPECT_FALSE(stream.str(kPathTextMax));
  }
}

}  // namespace
}  // namespace flurry::nix
