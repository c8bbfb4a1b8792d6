#include <gtest/gtest.h>

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
  BlockStream blocks(wire.near);
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

// A link and a core: what a block costs at each level.
struct Model {
  double link, at_1, at_3;  // bytes a microsecond
  double left_at_1 = 0.4, left_at_3 = 0.35;

  BlockSent send(int level) const {
    const double content = 1 << 20;
    const double work = level == 0 ? 0 : content / (level == 1 ? at_1 : at_3);
    const double wire = content * (level == 0 ? 1 : level == 1 ? left_at_1 : left_at_3) / link;
    return {1 << 20, static_cast<uint64_t>(work), static_cast<uint64_t>(std::max(0.0, wire - work))};
  }
};

int settled_level(CompressionChoice& choice, const Model& model) {
  size_t blocks_at[4] = {};
  for (int i = 0; i < 2000; ++i) choice.sent(model.send(choice.level()));
  for (int i = 0; i < 1000; ++i) {
    ++blocks_at[choice.level()];
    choice.sent(model.send(choice.level()));
  }
  for (const int level : {0, 1, 3})
    if (blocks_at[level] > 900) return level;
  return -1;
}

TEST(CompressionChoice, FollowsTheLinkAndComesBack) {
  const Model slow{.link = 5, .at_1 = 400, .at_3 = 200};
  const Model fast{.link = 2000, .at_1 = 400, .at_3 = 200};
  const Model middle{.link = 200, .at_1 = 450, .at_3 = 150};
  CompressionChoice choice;
  EXPECT_EQ(settled_level(choice, slow), 3);
  EXPECT_EQ(settled_level(choice, fast), 0);
  EXPECT_EQ(settled_level(choice, middle), 1);
  EXPECT_EQ(settled_level(choice, fast), 0);
  EXPECT_EQ(settled_level(choice, slow), 3);
}

TEST(CompressionChoice, SendsRawWhereTheReceiverCannotKeepUpWithUnpacking) {
  CompressionChoice choice;
  uint64_t raw = 0;
  for (int i = 0; i < 2000; ++i) {
    raw += choice.level() == 0;
    choice.sent({1 << 20, 1000, choice.level() == 0 ? 500u : 4000u});
  }
  EXPECT_GT(raw, 1800u);
}

TEST(CompressionChoice, StaysWhereTheNextLevelIsHardlyBetter) {
  CompressionChoice choice;
  EXPECT_EQ(settled_level(choice, {.link = 5, .at_1 = 400, .at_3 = 200, .left_at_3 = 0.39}), 1);
}

}  // namespace
}  // namespace flurry::transfer
