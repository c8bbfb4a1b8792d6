#include "cli/copy/shared_blocks.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <thread>
#include <vector>

#include "stores.h"

namespace flurry::copy {
namespace {

transfer::PackedBlock block_of(size_t size) {
  return {transfer::FrameType::kRawBlock, std::string(size, 'x'), size};
}

TEST(SharedBlocks, ABlockThatManyWantAtOnceIsMadeOnce) {
  SharedBlocks blocks;
  std::atomic<int> made = 0;
  std::vector<std::jthread> threads;
  for (int i = 0; i < 8; ++i)
    threads.emplace_back([&] {
      for (uint64_t index = 0; index < 100; ++index) {
        const auto block = blocks.get("/nix/store/p", index, [&] {
          ++made;
          return block_of(index);
        });
        EXPECT_EQ(block->payload.size(), index);
      }
    });
  threads.clear();
  EXPECT_EQ(made, 100);
}

TEST(SharedBlocks, WhoComesWhileAnotherMakesThePathTakesWhatThatOneMakes) {
  SharedBlocks blocks;
  EXPECT_EQ(blocks.find("/nix/store/p", 0), nullptr);
  auto making = std::make_unique<SharedBlocks::Making>(blocks, "/nix/store/p");
  std::jthread maker([&] { blocks.get("/nix/store/p", 0, [] { return block_of(7); }); });
  SharedBlocks::Block block;
  for (int i = 0; i < 1000 && block == nullptr; ++i) block = blocks.find("/nix/store/p", 0);
  ASSERT_NE(block, nullptr);
  EXPECT_EQ(block->payload.size(), 7u);
  EXPECT_EQ(blocks.find("/nix/store/p", 1), nullptr) << "the other may be stuck: nobody waits for long";
}

TEST(SharedBlocks, HoldsNoMoreThanItsBound) {
  SharedBlocks blocks(10'000);
  int made = 0;
  const auto get = [&](uint64_t index) {
    return blocks.get("/nix/store/p", index, [&] {
      ++made;
      return block_of(1000);
    });
  };
  for (uint64_t index = 0; index < 100; ++index) get(index);
  EXPECT_EQ(made, 100);
  get(95);
  get(95);
  EXPECT_EQ(made, 100) << "what was asked for last is there";
  get(0);
  EXPECT_EQ(made, 101) << "what was asked for first is not";
}

TEST(SharedBlocks, ADeltaThatFailsIsAnErrorOfThoseThatWantItAndIsTriedAgain) {
  SharedBlocks blocks;
  const auto failed = blocks.delta("a<b", [] {
    return Result<std::string>(Error{ErrorKind::kFailed, "read"});
  });
  ASSERT_FALSE(failed);
  const auto made = blocks.delta("a<b", [] { return Result<std::string>("delta"); });
  ASSERT_TRUE(made);
  EXPECT_EQ(**made, "delta");
  const auto again = blocks.delta("a<b", []() -> Result<std::string> { std::abort(); });
  EXPECT_EQ(**again, "delta");
  const auto none = blocks.delta("c<d", [] { return Result<std::string>(""); });
  ASSERT_TRUE(none);
  EXPECT_EQ(*none, nullptr);
}

}  // namespace
}  // namespace flurry::copy
