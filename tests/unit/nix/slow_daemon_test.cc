// What an import makes of a daemon that is slow, hangs or dies; and in what pieces the daemon gets its work.
#include <stdlib.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <mutex>

#include "agent/import.h"
#include "cli/copy/convert.h"
#include "core/delta/delta_writer.h"
#include "core/delta/hash_pairs.h"
#include "core/nix/nar.h"
#include "core/transfer/frame_stream.h"
#include "fake_daemon.h"
#include "flurry/v1/copy.pb.h"

namespace flurry {
namespace {

using nix::wire_str;
using nix::words;
using transfer::FrameType;

constexpr uint64_t kLast = 0x616c7473;
const std::string kAnyHash(64, '0');

// What a client of the daemon says.
class Words {
 public:
  explicit Words(int fd) : fd_(fd) {}

  // False, or nothing, at the end.
  bool skip(uint64_t size) {
    if (!fill(size)) return false;
    bytes_.erase(0, size);
    return true;
  }
  std::optional<uint64_t> u64() {
    if (!fill(8)) return std::nullopt;
    const uint64_t value = nix::load_u64(bytes_.data());
    bytes_.erase(0, 8);
    return value;
  }
  void skip_str() {
    const uint64_t size = u64().value_or(0);
    skip(size + nix::padding_of(size));
  }
  void skip_strs() {
    for (uint64_t left = u64().value_or(0); left > 0; --left) skip_str();
  }

 private:
  bool fill(uint64_t size) {
    while (bytes_.size() < size) {
      char piece[32 << 10];
      const auto n = sys::read_some(fd_, piece, nix::soon());
      if (!n || *n == 0) return false;
      bytes_.append(piece, *n);
    }
    return true;
  }

  int fd_;
  std::string bytes_;
};

// Takes every path without a look at it.
class CarelessDaemon {
 public:
  // What it does about the path of that number, before the answer: false, and it is gone.
  std::function<bool(size_t)> on_path = [](size_t) { return true; };
  std::optional<nix::PathInfo> base;
  std::atomic<size_t> frames = 0;

  Result<nix::Daemon> connect(TimePoint deadline) {
    auto ends = sys::socket_pair();
    threads_.emplace_back([this, fd = std::move(ends->second)] { serve(fd.get()); });
    return nix::Daemon::open(std::move(ends->first), deadline);
  }

 private:
  void serve(int fd) {
    nix::FakeDaemon::Peer(fd).greet(34);
    Words in(fd);
    for (;;) {
      const auto operation = in.u64();
      if (!operation || !answer(*operation, in, fd)) return;
    }
  }

  bool answer(uint64_t operation, Words& in, int fd) {
    nix::FakeDaemon::Peer peer(fd);
    if (operation == 39) return take(in, peer);
    if (operation == 31) {  // QueryValidPaths
      in.skip_strs();
      in.u64();
      peer.say(words({kLast, 0}));
      return true;
    }
    in.skip_str();  // AddTempRoot, QueryPathInfo, IsValidPath
    std::string info = words({1});
    if (operation == 26)
      info += wire_str("") + wire_str(base->nar_hash) + words({0, 0, base->nar_size, 0, 0}) + wire_str("");
    peer.say(words({kLast}) + info);
    return true;
  }

  bool take(Words& in, nix::FakeDaemon::Peer& peer) {
    for (int i = 0; i < 3; ++i) in.skip_str();  // path, deriver, hash
    in.skip_strs();
    for (int i = 0; i < 3; ++i) in.u64();
    in.skip_strs();
    in.skip_str();
    for (int i = 0; i < 2; ++i) in.u64();
    for (;;) {
      const auto size = in.u64();
      if (!size) return false;
      if (*size == 0) break;
      ++frames;
      if (!in.skip(*size)) return false;
    }
    const size_t number = taken_++;
    if (!on_path(number)) return false;
    peer.say(words({kLast}));
    return true;
  }

  std::vector<std::jthread> threads_;
  size_t taken_ = 0;
};

struct Heard {
  size_t stored = 0;
  bool is_done = false;
  v1::CopyError error;
};

class SlowDaemon : public ::testing::Test {
 protected:
  SlowDaemon() {
    char name[] = "/tmp/flurry-slow-XXXXXX";
    dir_ = ::mkdtemp(name);
    std::filesystem::create_directories(dir_ + "/gcroots");
    std::filesystem::create_directories(store());
  }
  ~SlowDaemon() override { std::filesystem::remove_all(dir_); }

  std::string store() const { return dir_ + "/store"; }

  static std::string path(size_t number) {
    const std::string digits = std::to_string(number);
    return "/nix/store/" + std::string(32 - digits.size(), '0') + digits + "-p";
  }

  static std::string nar() {
    std::string out;
    for (const char* item : {"nix-archive-1", "(", "type", "regular", "contents", "x", ")"})
      nix::put_str(out, item);
    return out;
  }

  static std::string path_frame(uint32_t number, const nix::PathInfo* base = nullptr) {
    v1::CopyPathInfo info;
    info.set_path_index(number);
    info.set_nar_hash(kAnyHash);
    if (base != nullptr) {
      info.set_base_path(base->path.str());
      info.set_base_hash(base->nar_hash);
    }
    return encode_frame(FrameType::kPathInfo, info.SerializeAsString());
  }

  // That many small paths, in one block or in some that begin with these. The NAR of `bad` is none.
  Heard copy(size_t count, Millis patience, const std::vector<size_t>& firsts = {0},
             std::optional<size_t> bad = {}) {
    std::vector<std::string> blocks;
    std::vector<std::pair<std::string, uint64_t>> paths;
    for (uint32_t i = 0; i < count; ++i) {
      if (std::find(firsts.begin(), firsts.end(), i) != firsts.end()) blocks.emplace_back();
      const std::string sent = i == bad ? std::string(nar().size(), 'x') : nar();
      blocks.back() += path_frame(i) + encode_frame(FrameType::kNarChunk, sent);
      paths.emplace_back(path(i), nar().size());
    }
    return converse(paths, blocks, patience);
  }

  Heard converse(const std::vector<std::pair<std::string, uint64_t>>& paths,
                 const std::vector<std::string>& blocks, Millis patience) {
    v1::CopyHello hello;
    hello.set_protocol_version(transfer::kCopyProtocolVersion);
    hello.set_deployment_id("01ARYZ6S41TSV4RRFFQ69G5FAV");
    hello.set_top_path(paths.back().first);
    hello.set_path_count(static_cast<uint32_t>(paths.size()));
    v1::CopyPaths list;
    for (const auto& [name, size] : paths) {
      auto* one = list.add_paths();
      one->set_path(name);
      one->set_nar_bytes(size);
    }
    agent::ImportOptions options;
    options.store_dir = store();
    options.state_dir = dir_;
    options.idle_timeout = patience;
    options.policy_file = dir_ + "/none.json";
    options.connect = [this](TimePoint deadline) { return daemon_.connect(deadline); };
    auto ends = sys::socket_pair();
    std::jthread agent([&, fd = ends->second.get()] {
      static_cast<void>(agent::run_import(fd, fd, options));
      ::shutdown(fd, SHUT_RDWR);
    });
    std::jthread sender([&, fd = ends->first.get()] {
      const auto say = [fd](FrameType type, const std::string& payload) {
        static_cast<void>(sys::write_all(fd, encode_frame(type, payload), nix::soon()));
      };
      say(FrameType::kHello, hello.SerializeAsString());
      say(FrameType::kPaths, list.SerializeAsString());
      for (const auto& block : blocks) {
        say(FrameType::kRawBlock, block);
        std::this_thread::sleep_for(Millis(5));  // so that the agent is done with it
      }
    });
    transfer::FrameStream stream(ends->first.get(), ends->first.get(), Millis(20'000));
    Heard heard;
    for (;;) {
      const auto frame = stream.receive();
      if (!frame || !*frame) break;
      v1::CopyStored stored;
      if ((*frame)->type == FrameType::kStored && stored.ParseFromString(std::string((*frame)->payload)))
        heard.stored += stored.path_count();
      heard.is_done = heard.is_done || (*frame)->type == FrameType::kDone;
      if ((*frame)->type == FrameType::kError) heard.error.ParseFromString(std::string((*frame)->payload));
    }
    return heard;
  }

  CarelessDaemon daemon_;

 private:
  std::string dir_;
};

TEST_F(SlowDaemon, IsNotGivenUpWhileItGetsOn) {
  daemon_.on_path = [](size_t) {
    std::this_thread::sleep_for(Millis(5));
    return true;
  };
  const Heard heard = copy(600, Millis(300));
  EXPECT_TRUE(heard.is_done) << heard.error.message();
  EXPECT_EQ(heard.stored, 600u);
}

TEST_F(SlowDaemon, ThePathOnWhichItHangsIsNamed) {
  for (const size_t count : {40, 600}) {
    daemon_.on_path = [first = std::optional<size_t>()](size_t number) mutable {
      if (!first) first = number;  // of this round
      if (number == *first + 30) std::this_thread::sleep_for(Millis(1200));
      return number != *first + 30;
    };
    const Heard heard = copy(count, Millis(400));
    EXPECT_EQ(heard.error.path_index(), 30u) << heard.error.message();
    EXPECT_EQ(heard.stored, 30u);
  }
}

TEST_F(SlowDaemon, ThePathOnWhichItDiesIsNamed) {
  daemon_.on_path = [](size_t number) {
    std::this_thread::sleep_for(Millis(number == 30 ? 100 : 0));
    return number != 30;
  };
  const Heard heard = copy(600, Millis(5000));
  ASSERT_TRUE(heard.error.has_path_index()) << heard.error.message();
  EXPECT_EQ(heard.error.path_index(), 30u) << heard.error.message();
}

TEST_F(SlowDaemon, WhatIsStoredIsToldBeforeAnError) {
  const Heard heard = copy(60, Millis(5000), {0, 20, 21}, 45);
  EXPECT_EQ(heard.error.path_index(), 45u) << heard.error.message();
  EXPECT_EQ(heard.stored, 45u);
}

TEST_F(SlowDaemon, GetsADeltaOfManySmallFilesInFullFrames) {
  const auto named = [](char letter) {
    return *StorePath::parse("/nix/store/" + std::string(32, letter) + "-many");
  };
  nix::PathInfo infos[] = {{.path = named('a')}, {.path = named('b')}};
  for (auto& info : infos) {
    const std::string folder = store() + info.path.str().substr(10);
    std::filesystem::create_directories(folder);
    for (int i = 0; i < 2000; ++i) std::ofstream(folder + "/file" + std::to_string(i)) << "contents of " << i;
    info.nar_hash = kAnyHash;
    ASSERT_TRUE(nix::write_nar(folder, [&](std::string_view piece) -> Result<void> {
      info.nar_size += piece.size();
      return {};
    }));
  }
  const auto& [base, next] = infos;
  std::string delta;
  const auto folder = [&](const nix::PathInfo& info) { return store() + info.path.str().substr(10); };
  ASSERT_TRUE(delta::write_delta(folder(next), folder(base), delta::hash_pairs(base, next), {},
                                 [&](std::string_view piece) -> Result<void> {
                                   delta += piece;
                                   return {};
                                 }));
  daemon_.base = base;
  const Heard heard = converse({{next.path.str(), next.nar_size}},
                               {path_frame(0, &base) + encode_frame(FrameType::kNarChunk, delta) +
                                encode_frame(FrameType::kNarChunk, "")},
                               Millis(5000));
  EXPECT_TRUE(heard.is_done) << heard.error.message();
  EXPECT_LE(daemon_.frames, next.nar_size / (64 << 10) + 1);
}

}  // namespace
}  // namespace flurry
