#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <string>

#include "core/delta/delta_reader.h"
#include "core/delta/delta_writer.h"
#include "core/nix/nar.h"

namespace flurry::delta {

// Two folders, gone with the test: what a host has, and what it should get.
class DeltaTest : public testing::Test {
 protected:
  using Files = std::map<std::string, std::string>;  // place to contents

  DeltaTest() {
    std::string name = testing::TempDir() + "/flurry-delta-XXXXXX";
    top_ = ::mkdtemp(name.data());
  }
  ~DeltaTest() override { std::filesystem::remove_all(top_); }

  std::string base() const { return top_ + "/base"; }
  std::string path() const { return top_ + "/new"; }

  static void make(const std::string& root, const Files& files) {
    for (const auto& [place, contents] : files) {
      const std::filesystem::path file = place.empty() ? root : root + "/" + place;
      std::filesystem::create_directories(file.parent_path());
      std::ofstream(file, std::ios::binary) << contents;
    }
  }

  static std::string nar_of(const std::string& root) {
    std::string nar;
    const auto written = nix::write_nar(root, [&nar](std::string_view piece) -> Result<void> {
      nar += piece;
      return {};
    });
    EXPECT_TRUE(written) << written.error().message;
    return nar;
  }

  std::string delta() {
    std::string out;
    const auto stats =
        write_delta(path(), base(), rewriter_, {}, [&out](std::string_view piece) -> Result<void> {
          EXPECT_FALSE(piece.empty());
          EXPECT_LE(piece.size(), size_t{64} << 10);
          out += piece;
          return {};
        });
    EXPECT_TRUE(stats) << stats.error().message;
    if (stats) stats_ = *stats;
    EXPECT_EQ(stats_.delta_bytes, out.size());
    return out;
  }

  // The NAR that the host makes of it.
  Result<std::string> applied(std::string_view bytes, uint64_t nar_size, size_t piece = 65536,
                              size_t buffer_size = 65536) {
    DeltaReader reader(base(), rewriter_, nar_size, [&]() -> Result<std::string_view> {
      const auto next = bytes.substr(0, piece);
      bytes.remove_prefix(next.size());
      return next;
    });
    std::string nar;
    std::string buffer(buffer_size, '\0');
    for (;;) {
      ASSIGN_OR_RETURN(const size_t n, reader.read(buffer));
      if (n == 0) return nar;
      nar.append(buffer, 0, n);
      EXPECT_LE(nar.size(), nar_size);
    }
  }

  // That the host gets what is here; how many bytes it took.
  size_t expect_round_trip() {
    const std::string wanted = nar_of(path());
    const std::string bytes = delta();
    const auto nar = applied(bytes, wanted.size());
    EXPECT_TRUE(nar) << nar.error().message;
    EXPECT_TRUE(nar && *nar == wanted);
    return bytes.size();
  }

  // Bytes like a program's: they compress to about half.
  static std::string program(size_t size, unsigned seed) {
    std::mt19937 random(seed);
    std::string out(size, '\0');
    for (auto& c : out) c = static_cast<char>(random() % 16 + (random() % 64 == 0 ? random() % 240 : 0));
    return out;
  }

  static std::string hash(unsigned seed) {
    std::mt19937 random(seed);
    std::string out(kHashSize, '\0');
    for (auto& c : out) c = "0123456789abcdfghijklmnpqrsvwxyz"[random() % 32];
    return out;
  }
  static HashPair pair(const std::string& from, const std::string& to) {
    HashPair out{};
    from.copy(out.from.data(), kHashSize);
    to.copy(out.to.data(), kHashSize);
    return out;
  }

  std::string top_;
  HashRewriter rewriter_{{}};
  DeltaStats stats_;
};

}  // namespace flurry::delta
