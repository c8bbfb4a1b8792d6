#include <tuple>

#include "tests/unit/delta/trees.h"

namespace flurry::delta {
namespace {

TEST_F(DeltaTest, OfWhatIsEqualIsAFewBytes) {
  const Files files = {{"bin/tool", program(300'000, 1)}, {"share/doc", "text"}, {"share/empty", ""}};
  make(base(), files);
  make(path(), files);
  EXPECT_LE(expect_round_trip(), 8u);
  EXPECT_EQ(stats_.copied, 300'004u);
}

TEST_F(DeltaTest, OfAMereRebuildIsAFewBytes) {
  rewriter_ = HashRewriter({pair(hash(1), hash(2)), pair(hash(3), hash(4))});
  for (const auto& [root, self, dependency] :
       {std::tuple{base(), hash(1), hash(3)}, {path(), hash(2), hash(4)}}) {
    make(root, {{"bin/tool",
                 program(200'000, 1) + "/nix/store/" + dependency + "-libc" + program(70'000, 2) + self},
                {"etc/unit", "ExecStart=/nix/store/" + self + "-tool/bin/tool"},
                {"share/doc", "text"}});
    std::filesystem::create_symlink("/nix/store/" + dependency + "-libc/lib", root + "/lib");
  }
  EXPECT_LE(expect_round_trip(), 16u);
  EXPECT_EQ(stats_.literal + stats_.patched, 0u);
}

TEST_F(DeltaTest, OfAnUpdateIsTheSizeOfWhatChanged) {
  std::string contents = program(3'000'000, 1);
  make(base(), {{"lib/libtool.so.3.0.20", contents}});
  for (size_t at = 1000; at < contents.size(); at += 300'000) contents.insert(at, "changed");
  make(path(), {{"lib/libtool.so.3.0.22", contents}});
  EXPECT_LE(expect_round_trip(), 2000u);
  EXPECT_EQ(stats_.patched, contents.size());
}

TEST_F(DeltaTest, OfFilesBiggerThanASliceOrThanTheBasesPart) {
  std::string contents = program(20'000'001, 1);
  make(base(), {{"image", contents}, {"small", program(600, 3)}});
  contents.insert(5'000'000, program(9000, 2));
  contents.erase(15'000'000, 7000);
  make(path(), {{"image", contents}, {"small", contents.substr(0, 9'000'000)}});
  expect_round_trip();
  EXPECT_EQ(stats_.patched, contents.size() + 9'000'000);
}

TEST_F(DeltaTest, OfATreeThatHasNothingInCommon) {
  make(base(), {{"a", "one"}, {"b/c", "two"}});
  make(path(), {{"x/y/z", program(150'000, 1)}, {"x/y/zero", ""}, {"x/more", program(5000, 2)}});
  std::filesystem::create_directory(path() + "/empty");
  std::filesystem::create_symlink("nowhere", path() + "/link");
  ::chmod((path() + "/x/more").c_str(), 0755);
  expect_round_trip();
  EXPECT_EQ(stats_.literal, 155'000u);
}

TEST_F(DeltaTest, OfAPathThatIsAFileItselfOrAnEmptyFolder) {
  make(base(), {{"", "#!/bin/sh\n" + program(700, 1)}});
  make(path(), {{"", "#!/bin/sh\n" + program(700, 1) + "more"}});
  expect_round_trip();
  std::filesystem::remove(path());
  std::filesystem::create_directory(path());
  expect_round_trip();
  std::filesystem::remove(path());
  std::filesystem::create_symlink("target", path());
  expect_round_trip();
  std::filesystem::remove(path());
  make(path(), {{"", ""}});
  expect_round_trip();
}

TEST_F(DeltaTest, OfFilesThatWereMovedRenamedAndSwapped) {
  make(base(),
       {{"lib/python3.11/a.py", program(2000, 1)}, {"lib/b", program(2000, 2)}, {"c", program(2000, 3)}});
  make(path(), {{"lib/python3.12/a.py", program(2000, 1)}, {"b", program(2000, 2)}, {"a", program(2000, 3)}});
  expect_round_trip();
  EXPECT_EQ(stats_.copied, 4000u);
  EXPECT_EQ(stats_.literal, 2000u);
}

TEST_F(DeltaTest, ComesOutTheSameWhateverThePiecesAre) {
  rewriter_ = HashRewriter({pair(hash(1), hash(2))});
  make(base(),
       {{"a", program(70'000, 1)}, {"b", hash(1) + program(65'520, 2) + hash(1)}, {"c", program(2000, 3)}});
  make(path(), {{"a", program(70'000, 1)},
                {"b", hash(2) + program(65'520, 2) + hash(2)},
                {"c", program(1990, 3) + "end"},
                {"d", "a few bytes more"}});
  const std::string wanted = nar_of(path());
  const std::string bytes = delta();
  EXPECT_GT(stats_.rewritten, 0u);
  for (const size_t piece : {1, 7, 4096})
    for (const size_t buffer : {1, 5, 8, 65536}) {
      const auto nar = applied(bytes, wanted.size(), piece, buffer);
      ASSERT_TRUE(nar) << nar.error().message;
      EXPECT_TRUE(*nar == wanted) << piece << " " << buffer;
    }
}

class HostileDelta : public DeltaTest {
 protected:
  void SetUp() override {
    rewriter_ = HashRewriter({pair(hash(1), hash(2))});
    make(base(), {{"a", program(1000, 1)}, {"b", hash(1)}, {"c", program(2000, 3)}});
    make(path(), {{"a", program(1000, 1)}, {"b", hash(2)}, {"c", program(1990, 3) + "end"}, {"d", "more"}});
    nar_ = nar_of(path());
    bytes_ = delta();
  }
  std::string nar_;
  std::string bytes_;
};

TEST_F(HostileDelta, ThatIsCutOffIsRefused) {
  for (size_t size = 0; size < bytes_.size(); ++size) {
    const auto nar = applied(bytes_.substr(0, size), nar_.size());
    ASSERT_FALSE(nar) << size;
    EXPECT_EQ(nar.error().kind, ErrorKind::kInvalidInput);
  }
}

TEST_F(HostileDelta, ThatGoesOnBehindItsEndIsRefused) {
  EXPECT_FALSE(applied(bytes_ + '\0', nar_.size()));
  EXPECT_FALSE(applied(bytes_ + bytes_, nar_.size()));
}

TEST_F(HostileDelta, OfAnotherSizeThanWasAnnouncedIsRefusedBeforeAnyByte) {
  for (const uint64_t size : {nar_.size() - 8, nar_.size() + 8, size_t{0}})
    EXPECT_FALSE(applied(bytes_, size));
}

TEST_F(HostileDelta, WithAnyByteChangedGivesAnErrorOrANarOfTheSameSize) {
  for (size_t at = 0; at < bytes_.size(); ++at)
    for (const int change : {1, 0x80, 0xff}) {
      std::string bytes = bytes_;
      bytes[at] = static_cast<char>(bytes[at] ^ change);
      const auto nar = applied(bytes, nar_.size());
      EXPECT_TRUE(!nar || nar->size() == nar_.size()) << at;
    }
}

TEST_F(HostileDelta, AgainstABaseThatIsAnotherIsAnErrorOrAnotherNar) {
  std::ofstream(base() + "/a", std::ios::app) << "longer";
  const auto longer = applied(bytes_, nar_.size());
  EXPECT_TRUE(!longer || *longer != nar_);
  std::filesystem::remove(base() + "/c");
  EXPECT_FALSE(applied(bytes_, nar_.size()));
  std::filesystem::remove_all(base());
  const auto none = applied(bytes_, nar_.size());
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().message.find(base()), std::string::npos);
}

TEST_F(DeltaTest, IsNotMadeOfWhatNoArchiveCanHold) {
  make(base(), {{"a", "one"}});
  make(path(), {{"a", "one"}});
  ASSERT_EQ(::mkfifo((path() + "/pipe").c_str(), 0600), 0);
  const auto stats =
      write_delta(path(), base(), rewriter_, {}, [](std::string_view) -> Result<void> { return {}; });
  ASSERT_FALSE(stats);
  EXPECT_EQ(stats.error().kind, ErrorKind::kUnsupported);
}

}  // namespace
}  // namespace flurry::delta
