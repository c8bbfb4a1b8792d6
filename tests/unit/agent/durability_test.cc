#include <dirent.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <climits>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>
#include <string>

#include "agent/file_io.h"
#include "agent/journal.h"
#include "tests/unit/agent/fake_system.h"
#include "tests/unit/agent/temp_dir.h"

// What a power cut leaves is what was synced before it: of a file its bytes, of a directory its names. No lab
// can show that, because its page cache survives. So this program keeps note of what each sync made safe, and
// reads the agent's files back from that alone.

namespace {

// By inode: what would be on the disk.
struct SafeDisk {
  std::map<ino_t, std::string> files;                         // bytes
  std::map<ino_t, std::map<std::string, ino_t>> directories;  // names
  std::map<ino_t, std::string> links;                         // a link's target goes with its directory
  bool is_noting = false;
};

SafeDisk& disk() {
  static SafeDisk disk;
  return disk;
}

std::string bytes_of(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

void note_sync(int fd) {
  if (!disk().is_noting) return;
  struct stat info {};
  if (::fstat(fd, &info) != 0) return;
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  if (S_ISREG(info.st_mode)) disk().files[info.st_ino] = bytes_of(path);
  if (!S_ISDIR(info.st_mode)) return;
  auto& names = disk().directories[info.st_ino];
  names.clear();
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    struct stat one {};
    if (::lstat(entry.path().c_str(), &one) != 0) continue;
    names[entry.path().filename().string()] = one.st_ino;
    if (S_ISLNK(one.st_mode)) disk().links[one.st_ino] = std::filesystem::read_symlink(entry.path()).string();
  }
}

}  // namespace

// Of this program; they come before the C library's.
extern "C" int fsync(int fd) {
  note_sync(fd);
  return static_cast<int>(::syscall(SYS_fsync, fd));
}
extern "C" int fdatasync(int fd) {
  note_sync(fd);
  return static_cast<int>(::syscall(SYS_fdatasync, fd));
}

namespace flurry::agent {
namespace {

class DurabilityTest : public testing::Test {
 protected:
  DurabilityTest() {
    disk() = {};
    disk().is_noting = true;
    std::filesystem::create_directory(directory_);
  }
  ~DurabilityTest() override { disk() = {}; }

  // The directory as it is after a power cut, at another place.
  std::string after_a_power_cut() {
    disk().is_noting = false;
    const std::string out = dir_.str() + "/after";
    std::filesystem::remove_all(out);
    std::filesystem::create_directory(out);
    struct stat info {};
    EXPECT_EQ(::stat(directory_.c_str(), &info), 0);
    for (const auto& [name, inode] : disk().directories[info.st_ino]) {
      if (disk().links.count(inode))
        std::filesystem::create_symlink(disk().links[inode], out + "/" + name);
      else
        std::ofstream(out + "/" + name, std::ios::binary) << disk().files[inode];
    }
    disk().is_noting = true;
    return out;
  }

  ActivationRecord record_in(Phase phase) {
    ActivationRecord record{.spec = {.deployment = id_, .nonce = kNonce, .profiles = {system_profile(kNew)}}};
    record.phase = phase;
    record.before.boot_id = kBootId;
    return record;
  }

  const TempDir dir_;
  const std::string directory_ = dir_.str() + "/now";
  const DeploymentId id_ = *DeploymentId::parse("01ARYZ6S41TSV4RRFFQ69G5FAV");
};

TEST_F(DurabilityTest, WhatTheJournalHasTakenSurvivesAPowerCut) {
  FileJournal journal(directory_);
  for (const Phase phase : {Phase::kPrepared, Phase::kSwitching, Phase::kChecking, Phase::kConfirmed}) {
    ASSERT_TRUE(journal.write(record_in(phase)));
    const auto entry = FileJournal(after_a_power_cut()).find(id_);
    ASSERT_TRUE(entry) << entry.error().message;
    ASSERT_TRUE(*entry) << to_string(phase) << ": no journal is there";
    EXPECT_EQ((*entry)->record.phase, phase);
  }
}

TEST_F(DurabilityTest, AJournalThatWasSetAsideStaysAside) {
  FileJournal journal(directory_);
  ASSERT_TRUE(journal.write(record_in(Phase::kPrepared)));
  ASSERT_TRUE(journal.set_aside(id_));
  FileJournal after(after_a_power_cut());
  ASSERT_TRUE(after.lost());
  EXPECT_EQ(after.lost()->size(), 1u);
  EXPECT_FALSE(*after.find(id_));
}

TEST_F(DurabilityTest, AFileIsThereWholeOrAsBefore) {
  const std::string file = directory_ + "/status";
  for (const std::string text : {"first", "second and longer"}) {
    ASSERT_TRUE(write_file_durably(file, text));
    EXPECT_EQ(bytes_of(after_a_power_cut() + "/status"), text);
  }
}

TEST_F(DurabilityTest, ALinkLeadsWhereItWasLed) {
  for (const std::string target : {"/nix/store/a", "/nix/store/b"}) {
    ASSERT_TRUE(replace_link(directory_ + "/root", target));
    EXPECT_EQ(std::filesystem::read_symlink(after_a_power_cut() + "/root"), target);
  }
}

// The way to see that this test can fail: what nobody has synced is not there.
TEST_F(DurabilityTest, WhatNobodySyncedIsGone) {
  std::ofstream(directory_ + "/careless") << "text";
  EXPECT_FALSE(std::filesystem::exists(after_a_power_cut() + "/careless"));
  ASSERT_TRUE(sync_dir(directory_));
  EXPECT_EQ(bytes_of(after_a_power_cut() + "/careless"), "") << "its name is there, its bytes are not";
}

}  // namespace
}  // namespace flurry::agent
