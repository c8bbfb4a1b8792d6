#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <memory>
#include <thread>
#include <vector>

#include "agent/import_lanes.h"
#include "core/sys/clock.h"
#include "core/sys/fd.h"
#include "core/transfer/block_stream.h"
#include "core/transfer/messages.h"

namespace flurry::transfer {
namespace {

constexpr Millis kPatience{20'000};

// A first channel and lanes beside it, both ends of each.
struct Channels {
  explicit Channels(size_t lanes) : first(*sys::socket_pair()) {
    for (size_t i = 0; i < lanes; ++i) {
      beside.push_back(*sys::socket_pair());
      bytes.push_back(std::make_unique<sys::Duplex>(beside.back().second.get(), -1, 2 << 20));
    }
    far.set_lanes([this](uint8_t number, TimePoint) -> Result<sys::Duplex*> {
      if (number == 0 || number > bytes.size()) return Error{ErrorKind::kInvalidInput, "no such lane"};
      return bytes[number - 1].get();
    });
  }
  void say(int fd, FrameType type, std::string_view payload) {
    ASSERT_TRUE(sys::write_all(fd, encode_frame(type, payload), sys::now() + kPatience));
  }

  std::pair<sys::Fd, sys::Fd> first;
  std::vector<std::pair<sys::Fd, sys::Fd>> beside;
  std::vector<std::unique_ptr<sys::Duplex>> bytes;
  FrameStream near{first.first.get(), first.first.get(), kPatience};
  FrameStream far{first.second.get(), first.second.get(), kPatience};
};

TEST(Lanes, WhatComesOverAnyOfThemComesInTheOrderInWhichItWasSent) {
  Channels channels(3);
  LaneWriter lanes(channels.near);
  BlockStream blocks(channels.near, lanes);
  std::vector<size_t> sizes;
  for (size_t i = 0; i < 400; ++i) sizes.push_back(1 + i * 7919 % 60'000);
  std::jthread sender([&] {
    for (size_t i = 0; i < sizes.size(); ++i) {
      if (i % 100 == 50 && i < 300)  // lanes may come at any time
        lanes.add(static_cast<uint8_t>(i / 100 + 1), channels.beside[i / 100].first.get());
      ASSERT_TRUE(blocks.add(FrameType::kPathInfo, std::to_string(i)));
      ASSERT_TRUE(blocks.add(FrameType::kNarChunk, std::string(sizes[i], static_cast<char>('a' + i % 26))));
      if (i % 3 == 0) {
        ASSERT_TRUE(blocks.flush());
      }
    }
    ASSERT_TRUE(blocks.flush() && lanes.flush());
    ASSERT_TRUE(channels.near.send(FrameType::kDone, "end"));
  });
  for (size_t i = 0; i < sizes.size(); ++i) {
    const auto info = channels.far.receive();
    ASSERT_TRUE(info && *info) << i;
    ASSERT_EQ((*info)->payload, std::to_string(i));
    const auto chunk = channels.far.receive();
    ASSERT_TRUE(chunk && *chunk) << i;
    ASSERT_TRUE((*chunk)->payload == std::string(sizes[i], static_cast<char>('a' + i % 26))) << i;
  }
  const auto end = channels.far.receive();
  ASSERT_TRUE(end && *end);
  EXPECT_EQ((*end)->type, FrameType::kDone);
}

TEST(Lanes, OneThatIsStuckHoldsNoneOfTheOthersUp) {
  Channels channels(2);
  LaneWriter lanes(channels.near);
  lanes.add(1, channels.beside[0].first.get());
  lanes.add(2, channels.beside[1].first.get());
  const std::string bytes = encode_frame(FrameType::kNarChunk, std::string(900'000, 'x'));
  const auto block = std::make_shared<PackedBlock>(PackedBlock{FrameType::kRawBlock, bytes, bytes.size()});
  std::jthread reader([&] {  // of the second only
    std::vector<char> buffer(1 << 20);
    for (size_t left = 2 * bytes.size(); left > 0;) {
      const auto n = sys::read_some(channels.beside[1].second.get(), buffer, sys::now() + kPatience);
      ASSERT_TRUE(n && *n > 0);
      left -= std::min(left, *n);
    }
  });
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(lanes.send(block)) << i;
}

TEST(Lanes, WhatIsOnALaneMustBeAWholeBlockOfWholeFrames) {
  const std::string chunk = encode_frame(FrameType::kNarChunk, "x");
  const std::string nested = encode_frame(FrameType::kRawBlock, chunk);
  const std::string diversion = encode_frame(FrameType::kOnLane, "\1");
  for (const auto& [type, payload] : std::vector<std::pair<FrameType, std::string>>{
           {FrameType::kNarChunk, "x"},
           {FrameType::kRawBlock, ""},
           {FrameType::kRawBlock, chunk.substr(0, chunk.size() - 1)},
           {FrameType::kRawBlock, nested},
           {FrameType::kRawBlock, diversion},
           {FrameType::kOnLane, "\1"}}) {
    Channels channels(1);
    channels.say(channels.first.first.get(), FrameType::kOnLane, "\1");
    channels.say(channels.beside[0].first.get(), type, payload);
    const auto refused = channels.far.receive();
    ASSERT_FALSE(refused) << payload;
    EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidInput);
  }
}

TEST(Lanes, OneThatIsNotThereOrEndsIsAnError) {
  for (const std::string& number :
       {std::string("\2"), std::string("\0", 1), std::string(), std::string("\1\1")}) {
    Channels channels(1);
    channels.say(channels.first.first.get(), FrameType::kOnLane, number);
    EXPECT_FALSE(channels.far.receive());
  }
  Channels channels(1);
  channels.say(channels.first.first.get(), FrameType::kOnLane, "\1");
  ::shutdown(channels.beside[0].first.get(), SHUT_WR);
  EXPECT_FALSE(channels.far.receive());
  // Who has set up none takes none.
  channels.say(channels.first.second.get(), FrameType::kOnLane, "\1");
  EXPECT_FALSE(channels.near.receive());
}

TEST(ImportLanes, TakesEachNumberOnceAndEndsItsProcessesWithItself) {
  auto lanes = agent::ImportLanes::listen();
  ASSERT_TRUE(lanes) << lanes.error().message;
  std::optional<agent::ImportLanes> import(*std::move(lanes));
  auto stdin_ends = *sys::socket_pair();
  auto run = [&](uint8_t number) {
    return agent::run_import_lane(import->address(), number, stdin_ends.second.get(),
                                  stdin_ends.second.get());
  };
  Result<void> ended = Error{ErrorKind::kFailed, "still there"};
  std::jthread first([&] { ended = run(3); });
  const auto lane = import->lane(3, sys::now() + kPatience);
  ASSERT_TRUE(lane) << lane.error().message;
  ASSERT_TRUE(sys::write_all(stdin_ends.first.get(), "hello", sys::now() + kPatience));
  ASSERT_TRUE((*lane)->receive(sys::now() + kPatience));
  EXPECT_EQ((*lane)->input(), "hello");
  EXPECT_EQ(import->lane(0, sys::now() + kPatience).error().kind, ErrorKind::kInvalidInput);
  EXPECT_EQ(import->lane(kLanesMax + 1, sys::now() + kPatience).error().kind, ErrorKind::kInvalidInput);
  EXPECT_EQ(import->lane(4, sys::now() + Millis(20)).error().kind, ErrorKind::kTimedOut);
  std::jthread again([&] { static_cast<void>(run(3)); });
  EXPECT_EQ(import->lane(4, sys::now() + kPatience).error().kind, ErrorKind::kInvalidInput);
  import.reset();
  first.join();
  EXPECT_TRUE(ended);
}

}  // namespace
}  // namespace flurry::transfer
