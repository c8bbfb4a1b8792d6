#include "agent/journal.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "agent/convert.h"
#include "agent/file_io.h"
#include "tests/unit/agent/fake_system.h"
#include "tests/unit/agent/temp_dir.h"

namespace flurry::agent {
namespace {

ActivationRecord record_in(Phase phase, int number = 1) {
  ActivationRecord record{.spec = test_spec(number)};
  record.phase = phase;
  record.before = {kOld, kOld, 7, kBootId, {"bad.service"}};
  record.deadline = TimePoint(Millis(123456));
  if (phase == Phase::kEnded) record.outcome = Outcome::kSucceeded;
  return record;
}

std::string slurp(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void spew(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

class JournalTest : public testing::Test {
 protected:
  JournalTest()
      : journal_(dir_.str() + "/deployments"), id_(test_spec().deployment), file_(journal_.path(id_)) {}
  Phase phase_now() {
    const auto found = journal_.find(id_);
    EXPECT_TRUE(found) << found.error().message;
    return found && *found ? (*found)->record.phase : Phase::kEnded;
  }

  TempDir dir_;
  FileJournal journal_;
  DeploymentId id_;
  std::string file_;
};

TEST_F(JournalTest, KeepsTheLastWrite) {
  EXPECT_FALSE(*journal_.find(id_));
  for (const Phase phase : {Phase::kPrepared, Phase::kSwitching, Phase::kChecking, Phase::kEnded}) {
    ASSERT_TRUE(journal_.write(record_in(phase)));
    EXPECT_EQ(phase_now(), phase);
  }
  EXPECT_EQ((*journal_.find(id_))->sequence, 4u);
  EXPECT_FALSE(*journal_.latest_unfinished());
  EXPECT_EQ(journal_.recent(10)->size(), 1u);
  EXPECT_EQ(std::filesystem::status(file_).permissions(), std::filesystem::perms(0600));
}

// The second write goes to slot 1; a tear leaves any prefix of it over the zeroes that were there.
TEST_F(JournalTest, TornWriteReadsAsTheStateBefore) {
  ASSERT_TRUE(journal_.write(record_in(Phase::kPrepared)));
  const std::string before = slurp(file_);
  ASSERT_TRUE(journal_.write(record_in(Phase::kSwitching)));
  const std::string after = slurp(file_);
  const size_t slot = FileJournal::kSlotSize;
  const size_t written = FileJournal::kHeaderSize + encode_record(record_in(Phase::kSwitching)).size();
  for (size_t cut = 0; cut < written; cut += cut < 80 ? 1 : 7) {
    std::string torn = before;
    torn.replace(slot, cut, after, slot, cut);
    spew(file_, torn);
    ASSERT_EQ(phase_now(), Phase::kPrepared) << cut;
  }
  spew(file_, after);
  EXPECT_EQ(phase_now(), Phase::kSwitching);
}

TEST_F(JournalTest, AnyFlippedByteReadsAsTheStateBefore) {
  ASSERT_TRUE(journal_.write(record_in(Phase::kPrepared)));
  ASSERT_TRUE(journal_.write(record_in(Phase::kSwitching)));
  const std::string whole = slurp(file_);
  for (size_t at = 0; at < 200; ++at) {
    std::string bad = whole;
    bad[FileJournal::kSlotSize + at] ^= 0x40;
    spew(file_, bad);
    ASSERT_EQ(phase_now(), Phase::kPrepared) << at;
  }
}

TEST_F(JournalTest, BothSlotsBadIsAnErrorThatNamesTheFile) {
  ASSERT_TRUE(journal_.write(record_in(Phase::kPrepared)));
  std::mt19937 random(1);
  for (int i = 0; i < 20; ++i) {
    std::string bytes(static_cast<size_t>(random() % 600'000), '\0');
    for (auto& byte : bytes) byte = static_cast<char>(random());
    spew(file_, bytes);
    const auto found = journal_.find(id_);
    ASSERT_FALSE(found);
    EXPECT_NE(found.error().message.find(file_), std::string::npos);
    EXPECT_FALSE(journal_.write(record_in(Phase::kSwitching)));
    EXPECT_EQ(*journal_.damaged(), std::vector{id_});
  }
}

TEST_F(JournalTest, ADamagedOneDoesNotHideTheOthers) {
  ASSERT_TRUE(journal_.write(record_in(Phase::kChecking, 1)));
  ASSERT_TRUE(journal_.write(record_in(Phase::kChecking, 2)));
  spew(journal_.path(test_spec(2).deployment), "garbage");
  const auto found = journal_.latest_unfinished();
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->record.spec.deployment, test_spec(1).deployment);
}

TEST_F(JournalTest, SetAsideItIsKeptAndListedAsLost) {
  ASSERT_TRUE(journal_.write(record_in(Phase::kPrepared)));
  spew(file_, "garbage");
  ASSERT_TRUE(journal_.set_aside(id_));
  EXPECT_TRUE(journal_.damaged()->empty());
  EXPECT_EQ(*journal_.lost(), std::vector{id_});
  EXPECT_FALSE(*journal_.find(id_));
}

// It may be unfinished, and whoever wrote it can still finish it.
TEST_F(JournalTest, AnotherFormatIsNotDamage) {
  ASSERT_TRUE(journal_.write(record_in(Phase::kPrepared)));
  std::string bytes = slurp(file_);
  bytes[8] = 2;
  const std::string payload = encode_record(record_in(Phase::kPrepared));
  const std::string digest = sha256_hex(bytes.substr(8, 24) + payload);
  for (size_t i = 0; i < 32; ++i)
    bytes[32 + i] = static_cast<char>(std::stoi(digest.substr(2 * i, 2), nullptr, 16));
  spew(file_, bytes);
  EXPECT_TRUE(journal_.damaged()->empty());
  EXPECT_EQ(journal_.find(id_).error().kind, ErrorKind::kUnsupported);
  EXPECT_FALSE(journal_.latest_unfinished());
  EXPECT_FALSE(journal_.write(record_in(Phase::kSwitching)));
}

// Forged, but sealed as it should be: the write after it would get the number 0 and be lost.
TEST_F(JournalTest, RefusesToWriteBehindTheLastNumber) {
  ASSERT_TRUE(journal_.write(record_in(Phase::kPrepared)));
  const std::string payload = encode_record(record_in(Phase::kSwitching));
  std::string numbers;
  for (const uint64_t number : {uint64_t{1}, UINT64_MAX, uint64_t{payload.size()}})
    for (int i = 0; i < 8; ++i) numbers += static_cast<char>(number >> (8 * i) & 0xff);
  const std::string hex = sha256_hex(numbers + payload);
  std::string digest;
  for (size_t i = 0; i < hex.size(); i += 2)
    digest += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  std::string bytes = slurp(file_);
  const std::string slot = "flurryJ1" + numbers + digest + payload;
  bytes.replace(FileJournal::kSlotSize, slot.size(), slot);
  spew(file_, bytes);
  EXPECT_EQ(phase_now(), Phase::kSwitching);
  EXPECT_FALSE(journal_.write(record_in(Phase::kChecking)));
  EXPECT_EQ(phase_now(), Phase::kSwitching);
}

TEST_F(JournalTest, DoesNotFollowALink) {
  ASSERT_TRUE(journal_.write(record_in(Phase::kPrepared)));
  std::filesystem::rename(file_, dir_.str() + "/elsewhere");
  std::filesystem::create_symlink(dir_.str() + "/elsewhere", file_);
  EXPECT_FALSE(journal_.find(id_));
  EXPECT_FALSE(journal_.write(record_in(Phase::kSwitching)));
}

TEST_F(JournalTest, FindsTheLatestUnfinished) {
  ASSERT_TRUE(journal_.write(record_in(Phase::kChecking, 1)));
  ASSERT_TRUE(journal_.write(record_in(Phase::kEnded, 2)));
  const auto found = journal_.latest_unfinished();
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->record.spec.deployment, test_spec(1).deployment);
}

TEST(Convert, OutputOfAnyBytesStaysReadable) {
  auto record = record_in(Phase::kChecking);
  record.output = "caf\xc3\xa9 \xff\xfe \xed\xa0\x80 \x1b[31m cut \xe2\x82";
  const auto read = decode_record(encode_record(record));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_TRUE(read->output.starts_with("caf\xc3\xa9 ?? ??? ?[31m cut ??"));
}

TEST(Convert, RefusesWhatItCannotMean) {
  auto bad = record_in(Phase::kEnded);
  bad.outcome.reset();
  EXPECT_FALSE(decode_record(encode_record(bad)));
  auto goal = record_in(Phase::kChecking);
  goal.spec.goal = Goal::kPush;
  EXPECT_FALSE(decode_record(encode_record(goal)));
  auto nonce = record_in(Phase::kChecking);
  nonce.spec.nonce = "short";
  EXPECT_FALSE(decode_record(encode_record(nonce)));
  auto profile = record_in(Phase::kChecking);
  profile.spec.profiles[0].path = "/nix/../etc/passwd";
  EXPECT_FALSE(decode_record(encode_record(profile)));
  auto twice = record_in(Phase::kChecking);
  twice.spec.profiles.push_back(twice.spec.profiles[0]);
  EXPECT_FALSE(decode_record(encode_record(twice)));
  auto none = record_in(Phase::kChecking);
  none.spec.profiles.clear();
  EXPECT_FALSE(decode_record(encode_record(none)));
  auto beyond = record_in(Phase::kSwitching);
  beyond.at = 1;
  EXPECT_FALSE(decode_record(encode_record(beyond)));
  EXPECT_FALSE(decode_record("\xff\xff\xff"));
  EXPECT_FALSE(decode_record(""));
}

}  // namespace
}  // namespace flurry::agent
