#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "core/sys/clock.h"
#include "core/sys/fd.h"
#include "core/transfer/block_stream.h"

namespace flurry::transfer {
namespace {

std::string noise(size_t size) {
  std::mt19937 generator(7);
  std::string out(size, '\0');
  for (char& c : out) c = static_cast<char>(generator());
  return out;
}

struct Wire {
  Wire() : ends(*sys::socket_pair()) {}
  void say(FrameType type, std::string_view payload) {
    ASSERT_TRUE(sys::write_all(ends.first.get(), encode_frame(type, payload), sys::now() + Millis(5000)));
  }

  std::pair<sys::Fd, sys::Fd> ends;
  FrameStream near{ends.first.get(), ends.first.get(), Millis(5000)};
  FrameStream far{ends.second.get(), ends.second.get(), Millis(5000)};
};

TEST(Block, UnpacksToWhatWasPackedAndNoiseIsNotPacked) {
  BlockPacker packer;
  BlockUnpacker unpacker;
  const std::string content(100'000, 'x');
  for (const int level : {1, 3}) {
    const auto payload = packer.pack(content, level);
    ASSERT_FALSE(payload.empty());
    EXPECT_LT(payload.size(), 1000u);
    const auto back = unpacker.unpack(payload);
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_TRUE(*back == content);
    EXPECT_TRUE(packer.pack(noise(100'000), level).empty());
  }
}

TEST(Block, ABlockThatIsNotAsLongAsItSaysIsRefused) {
  BlockPacker packer;
  BlockUnpacker unpacker;
  const std::string good(packer.pack(std::string(100'000, 'x'), 1));
  for (const size_t said :
       {size_t{0}, size_t{99'999}, size_t{100'001}, kBlockContentMax + 1, size_t{0xffffffff}}) {
    std::string payload = good;
    for (size_t i = 0; i < 4; ++i) payload[i] = static_cast<char>(said >> 8 * i & 0xff);
    const auto refused = unpacker.unpack(payload);
    ASSERT_FALSE(refused) << said;
    EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidInput);
  }
  for (const size_t cut : {size_t{0}, size_t{3}, size_t{4}, good.size() - 1})
    EXPECT_FALSE(unpacker.unpack(std::string_view(good).substr(0, cut))) << cut;
}

TEST(BlockStream, FramesArriveAsTheyWereAddedAndCostLess) {
  Wire wire;
  LaneWriter lanes(wire.near);
  BlockStream blocks(lanes);
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(blocks.add(FrameType::kPathInfo, std::to_string(i)));
    ASSERT_TRUE(blocks.add(FrameType::kNarChunk, std::string(2000, 'x')));
  }
  ASSERT_TRUE(blocks.flush());
  for (int i = 0; i < 100; ++i) {
    const auto info = wire.far.receive();
    ASSERT_TRUE(info && *info) << i;
    EXPECT_EQ((*info)->type, FrameType::kPathInfo);
    EXPECT_EQ((*info)->payload, std::to_string(i));
    const auto chunk = wire.far.receive();
    ASSERT_TRUE(chunk && *chunk);
    EXPECT_EQ((*chunk)->payload.size(), 2000u);
  }
  EXPECT_GT(blocks.sent().content, 200'000u);
  EXPECT_LT(blocks.sent().wire, 10'000u);
}

TEST(BlockStream, ABlockWithinABlockOrWithHalfAFrameIsRefused) {
  BlockPacker packer;
  const std::string inner(packer.pack(encode_frame(FrameType::kNarChunk, std::string(50'000, 'x')), 1));
  std::string nested =
      encode_frame(FrameType::kBlock, inner) + encode_frame(FrameType::kNarChunk, std::string(9000, 'y'));
  std::string torn = encode_frame(FrameType::kNarChunk, std::string(50'000, 'x'));
  torn.pop_back();
  for (const std::string& content : {nested, torn}) {
    Wire wire;
    const std::string payload(packer.pack(content, 1));
    ASSERT_FALSE(payload.empty());
    wire.say(FrameType::kBlock, payload);
    const auto refused = wire.far.receive();
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidInput);
  }
}

// Rates in bytes a microsecond: a link behind a buffer that holds `buffered` bytes, and a core.
struct Model {
  double link;
  double buffered = 2 << 20;

  // Microseconds for a byte of content, and what is left of it.
  static std::pair<double, double> costs(int level) {
    switch (level) {
      case 0:
        return {0, 1};
      case -1:
        return {1 / 430.0, 0.4};
      case 1:
        return {1.3 / 430, 0.35};
      case 3:
        return {2.2 / 430, 0.315};
      default:
        return {5.8 / 430, 0.295};
    }
  }
  BlockSent send(int level) {
    const double content = 1 << 20;
    const double read = content / 2000;
    const double pack = content * costs(level).first;
    const double wire = content * costs(level).second;
    in_buffer_ = std::max(0.0, in_buffer_ - (read + pack) * link) + wire;
    const double wait = std::max(0.0, in_buffer_ - buffered) / link;
    in_buffer_ -= wait * link;
    return {1 << 20, static_cast<uint64_t>(wire), static_cast<uint64_t>(read), static_cast<uint64_t>(pack),
            static_cast<uint64_t>(wait)};
  }
  double in_buffer_ = 0;
};

// Content in a microsecond, once it is used to that link.
double rate(CompressionChoice& choice, Model model) {
  double content = 0, micros = 0;
  for (int i = 0; i < 3000; ++i) {
    const BlockSent sent = model.send(choice.level());
    choice.sent(sent);
    if (i < 1000) continue;
    content += static_cast<double>(sent.content_bytes);
    micros += static_cast<double>(sent.read_micros + sent.pack_micros + sent.wait_micros);
  }
  return content / micros;
}

TEST(CompressionChoice, CarriesAtLeastThreeQuartersOfWhatTheBestLevelWouldWhateverTheLink) {
  for (const double buffered : {2.0 * (1 << 20), 10.0 * (1 << 20)}) {
    CompressionChoice choice;
    for (const double link : {1.25, 2000.0, 125.0, 40.0, 2000.0, 12.5, 54.0}) {
      double best = 0;
      for (const int level : {0, -1, 1, 3, 6}) {
        const auto [pack, left] = Model::costs(level);
        best = std::max(best, std::min(1 / (1 / 2000.0 + pack), link / left));
      }
      EXPECT_GT(rate(choice, {.link = link, .buffered = buffered}), 0.75 * best) << link << " " << buffered;
    }
  }
}

TEST(CompressionChoice, SavesBytesWhereTheLinkIsSlow) {
  CompressionChoice choice;
  Model slow{.link = 1.25, .buffered = 10 << 20};
  for (int i = 0; i < 50; ++i) choice.sent(slow.send(choice.level()));
  EXPECT_EQ(choice.level(), 6);
}

TEST(CompressionChoice, IsOffWhereTheLinkIsFasterThanAnyCompression) {
  CompressionChoice choice;
  Model fast{.link = 2000, .buffered = 10 << 20};
  for (int i = 0; i < 100; ++i) choice.sent(fast.send(choice.level()));
  EXPECT_EQ(choice.level(), 0);
}

}  // namespace
}  // namespace flurry::transfer
