#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <system_error>
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
  BlockStream blocks(lanes);
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
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(lanes.send_on_lane(block)) << i;
}

TEST(Lanes, WhatIsOnALaneMustBeAWholeBlockOfWholeChunks) {
  const std::string chunk = encode_frame(FrameType::kNarChunk, "x");
  std::vector<std::pair<FrameType, std::string>> bad = {
      {FrameType::kNarChunk, "x"},
      {FrameType::kRawBlock, ""},
      {FrameType::kRawBlock, chunk.substr(0, chunk.size() - 1)},
      {FrameType::kOnLane, "\1"}};
  // Whoever gets at a lane must not be able to say what the host then takes for the controller's word.
  for (int type = static_cast<int>(FrameType::kHello); type <= static_cast<int>(FrameType::kLaneChunk);
       ++type)
    if (static_cast<FrameType>(type) != FrameType::kNarChunk)
      bad.emplace_back(FrameType::kRawBlock, encode_frame(static_cast<FrameType>(type), "\1"));
  for (const auto& [type, payload] : bad) {
    Channels channels(1);
    channels.say(channels.first.first.get(), FrameType::kOnLane, "\1");
    channels.say(channels.first.first.get(), FrameType::kLaneChunk, "");
    channels.say(channels.beside[0].first.get(), type, payload);
    const auto refused = channels.far.receive();
    ASSERT_FALSE(refused) << payload;
    EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidInput);
  }
}

TEST(Lanes, ABlockHoldsWhatTheMainStreamSaysAndNoMore) {
  const std::string chunk = encode_frame(FrameType::kNarChunk, "x");
  Channels more(1);
  for (int i = 0; i < 2; ++i) {
    more.say(more.first.first.get(), FrameType::kOnLane, "\1");
    more.say(more.first.first.get(), FrameType::kLaneChunk, "");
    more.say(more.beside[0].first.get(), FrameType::kRawBlock, chunk + chunk);
  }
  ASSERT_TRUE(more.far.receive());
  const auto refused = more.far.receive();
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kInvalidInput);
  Channels fewer(1);
  fewer.say(fewer.first.first.get(), FrameType::kOnLane, "\1");
  fewer.say(fewer.beside[0].first.get(), FrameType::kRawBlock, chunk);
  for (int i = 0; i < 2; ++i) fewer.say(fewer.first.first.get(), FrameType::kLaneChunk, "");
  ASSERT_TRUE(fewer.far.receive());
  const auto missing = fewer.far.receive();
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().kind, ErrorKind::kInvalidInput);
}

// The receiver waits for a lane's block and takes nothing from the main stream meanwhile.
TEST(Lanes, MuchToSayOnTheMainStreamHoldsNoLaneUp) {
  Channels channels(2);
  LaneWriter lanes(channels.near);
  lanes.add(1, channels.beside[0].first.get());
  lanes.add(2, channels.beside[1].first.get());
  BlockStream blocks(lanes);
  std::mt19937 random(1);
  const auto noise = [&](size_t size) {  // that can't be compressed
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    return bytes;
  };
  constexpr int kRounds = 12;
  std::jthread sender([&] {
    for (int i = 0; i < kRounds; ++i) {
      ASSERT_TRUE(blocks.add(FrameType::kPathInfo, noise(900'000)));
      ASSERT_TRUE(blocks.add(FrameType::kNarChunk, noise(i % 3 == 0 ? 1'000'000 : 1)));
      ASSERT_TRUE(blocks.flush());
    }
    ASSERT_TRUE(lanes.flush());
  });
  for (int i = 0; i < kRounds; ++i) {
    const auto info = channels.far.receive();
    ASSERT_TRUE(info && *info) << i;
    EXPECT_EQ((*info)->type, FrameType::kPathInfo);
    const auto chunk = channels.far.receive();
    ASSERT_TRUE(chunk && *chunk) << i;
    EXPECT_EQ((*chunk)->type, FrameType::kNarChunk);
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

// A directory for its socket.
class PrivateDir {
 public:
  PrivateDir() {
    char name[] = "/tmp/flurry-lanes-XXXXXX";
    path = ::mkdtemp(name);
  }
  ~PrivateDir() { std::filesystem::remove_all(path); }
  size_t files() const {
    return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(path), {}));
  }
  std::string path;
};

TEST(ImportLanes, TakesEachNumberOnceAndEndsItsProcessesWithItself) {
  const PrivateDir dir;
  auto lanes = agent::ImportLanes::listen(dir.path);
  ASSERT_TRUE(lanes) << lanes.error().message;
  std::optional<agent::ImportLanes> import(*std::move(lanes));
  auto stdin_ends = *sys::socket_pair();
  auto run = [&](uint8_t number) {
    return agent::run_import_lane(dir.path, import->address(), number, stdin_ends.second.get(),
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
  EXPECT_EQ(dir.files(), 0u);
}

// What a process that shares only the network namespace could see.
TEST(ImportLanes, AreReachedByNoNameOutsideTheFileSystem) {
  const PrivateDir dir;
  const auto lanes = agent::ImportLanes::listen(dir.path);
  ASSERT_TRUE(lanes) << lanes.error().message;
  std::set<std::string> ours;  // "socket:[INODE]"
  for (const auto& fd : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code error;
    ours.insert(std::filesystem::read_symlink(fd, error).string());
  }
  std::ifstream file("/proc/net/unix");
  std::vector<std::string> names;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string word, inode, name;
    for (int i = 0; i < 6; ++i) words >> word;
    words >> inode >> name;
    if (!name.empty() && ours.contains("socket:[" + inode + "]")) names.push_back(name);
  }
  ASSERT_EQ(names.size(), 1u);
  EXPECT_TRUE(names[0].starts_with(dir.path + "/")) << names[0];
  struct stat status {};
  ASSERT_EQ(::stat((dir.path + "/" + lanes->address()).c_str(), &status), 0);
  EXPECT_TRUE(S_ISSOCK(status.st_mode));
}

TEST(ImportLanes, AreNotInADirectoryThatOthersCanEnter) {
  const PrivateDir dir;
  const auto listen_in = [](const std::string& path) {
    const auto lanes = agent::ImportLanes::listen(path);
    return lanes ? std::optional<ErrorKind>() : lanes.error().kind;
  };
  const auto be_lane_of = [&](const std::string& address) {
    const auto lane = agent::run_import_lane(dir.path, address, 1, 0, 1);
    return lane ? std::optional<ErrorKind>() : lane.error().kind;
  };
  ASSERT_EQ(::chmod(dir.path.c_str(), 0711), 0);
  EXPECT_EQ(listen_in(dir.path), ErrorKind::kRefused);
  EXPECT_EQ(be_lane_of("import-1-1"), ErrorKind::kRefused);
  ASSERT_EQ(::chmod(dir.path.c_str(), 0700), 0);
  std::filesystem::create_directory_symlink(dir.path, dir.path + "/link");
  EXPECT_EQ(listen_in(dir.path + "/link"), ErrorKind::kRefused);
  EXPECT_EQ(be_lane_of("import-/../x"), ErrorKind::kInvalidInput);
}

TEST(ImportLanes, RemoveTheSocketsOfImportsThatWereKilledAndNoOthers) {
  const PrivateDir dir;
  const auto alive = agent::ImportLanes::listen(dir.path);
  ASSERT_TRUE(alive) << alive.error().message;
  const pid_t pid = ::fork();
  if (pid == 0) {
    const auto killed = agent::ImportLanes::listen(dir.path);
    ::_exit(killed ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(pid, &status, 0), pid);
  ASSERT_EQ(status, 0);
  EXPECT_EQ(dir.files(), 2u);
  const auto next = agent::ImportLanes::listen(dir.path);
  ASSERT_TRUE(next);
  EXPECT_EQ(dir.files(), 2u);
  EXPECT_TRUE(std::filesystem::exists(dir.path + "/" + alive->address()));
}

}  // namespace
}  // namespace flurry::transfer
