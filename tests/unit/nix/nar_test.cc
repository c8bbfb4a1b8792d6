#include "core/nix/nar.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>

#include "core/nix/ansi.h"
#include "core/sys/subprocess.h"
#include "core/transfer/frame.h"
#include "fake_daemon.h"

namespace flurry::nix {
namespace {

std::string tokens(std::initializer_list<std::string_view> items) {
  std::string out;
  for (const auto item : items) put_str(out, item);
  return out;
}

std::string example_tree() {
  char name[] = "/tmp/flurry-nar-XXXXXX";
  const std::string top = ::mkdtemp(name);
  std::ofstream(top + "/a") << "hi";
  ::chmod((top + "/a").c_str(), 0755);
  ::mkdir((top + "/e").c_str(), 0755);
  static_cast<void>(::symlink("a", (top + "/l").c_str()));
  return top;
}

std::string example() {
  return tokens({"nix-archive-1", "(",          "type", "directory",  //
                 "entry",         "(",          "name", "a",         "node", "(", "type",
                 "regular",       "executable", "",           //
                 "contents",      "hi",         ")",    ")",  //
                 "entry",         "(",          "name", "e",         "node", "(", "type",
                 "directory",     ")",          ")",  //
                 "entry",         "(",          "name", "l",         "node", "(", "type",
                 "symlink",       "target",     "a",    ")",         ")",    ")"});
}

Result<std::string> written(const std::string& path) {
  std::string nar;
  RETURN_IF_ERROR(write_nar(path, [&nar](std::string_view piece) -> Result<void> {
    nar += piece;
    return {};
  }));
  return nar;
}

TEST(WriteNar, GivesTheExampleOfTheFormat) {
  const std::string tree = example_tree();
  const auto nar = written(tree);
  ASSERT_TRUE(nar);
  EXPECT_EQ(nar->size(), 0x2a8u);
  EXPECT_EQ(*nar, example());
  std::ofstream(tree + "/nar") << *nar;
  const auto sum = sys::run_checked({.argv = {"sha256sum", tree + "/nar"}}, soon());
  ASSERT_TRUE(sum);
  EXPECT_EQ(sum->substr(0, 20), "ff0b0d67f2b18bbf5c26");
  static_cast<void>(sys::run({.argv = {"rm", "-rf", tree}}, soon()));
}

TEST(WriteNar, RefusesDevicesAndMissingFiles) {
  EXPECT_EQ(written("/dev/null").error().kind, ErrorKind::kUnsupported);
  EXPECT_FALSE(written("/nonexistent"));
}

Result<size_t> parsed(const std::string& nar, size_t step, uint64_t limit = 1 << 20) {
  NarParser parser(limit);
  size_t used = 0;
  for (size_t at = 0; at < nar.size(); at += step) {
    ASSIGN_OR_RETURN(const size_t n, parser.feed(std::string_view(nar).substr(at, step)));
    used += n;
  }
  if (!parser.is_done()) return Error{ErrorKind::kFailed, "not done"};
  return used;
}

TEST(NarParser, FindsTheEndHoweverTheBytesAreCut) {
  for (const size_t step : {1, 3, 8, 64, 4096}) {
    const auto used = parsed(example() + "rest", step);
    ASSERT_TRUE(used) << used.error().message;
    EXPECT_EQ(*used, example().size());
  }
  for (size_t cut = 0; cut < example().size(); ++cut)
    EXPECT_FALSE(parsed(example().substr(0, cut), 64)) << cut;
  EXPECT_FALSE(parsed(example(), 64, example().size() - 1));
  EXPECT_TRUE(parsed(example(), 64, example().size()));
}

std::string directory_with(std::initializer_list<std::string_view> names) {
  std::string out = tokens({"nix-archive-1", "(", "type", "directory"});
  for (const auto name : names)
    out += tokens({"entry", "(", "name", name, "node", "(", "type", "regular", "contents", "", ")", ")"});
  return out + tokens({")"});
}

TEST(NarParser, RefusesHostileNamesAndOrder) {
  EXPECT_TRUE(parsed(directory_with({"a", "b", "\xff"}), 7));
  for (const auto& bad :
       {directory_with({".."}), directory_with({"."}), directory_with({""}), directory_with({"a/b"}),
        directory_with({std::string_view("a\0b", 3)}), directory_with({"b", "a"}), directory_with({"a", "a"}),
        directory_with({std::string(256, 'n')})})
    EXPECT_FALSE(parsed(bad, 7));
}

TEST(NarParser, RefusesDepthLengthsAndPadding) {
  std::string deep = tokens({"nix-archive-1"});
  for (size_t i = 0; i <= kNarDepthMax; ++i)
    deep += tokens({"(", "type", "directory", "entry", "(", "name", "d", "node"});
  EXPECT_FALSE(parsed(deep, 64));
  const std::string file = tokens({"nix-archive-1", "(", "type", "regular", "contents"});
  EXPECT_FALSE(parsed(file + words({~0ull}), 64));
  EXPECT_FALSE(parsed(file + words({1}) + "x\1\1\1\1\1\1\1" + tokens({")"}), 64));
  EXPECT_FALSE(parsed(tokens({"nix-archive-2"}), 64));
  EXPECT_FALSE(parsed(tokens({"nix-archive-1", "(", "type", "fifo"}), 64));
  EXPECT_FALSE(parsed(tokens({"nix-archive-1", "(", "type", "symlink", "target", "", ")"}), 64));
}

TEST(NarParser, SurvivesEveryFlippedByte) {
  for (size_t at = 0; at < example().size(); ++at) {
    std::string nar = example();
    nar[at] = static_cast<char>(nar[at] ^ 0x41);
    static_cast<void>(parsed(nar, 5));
  }
}

TEST(StripAnsi, LeavesTextOnly) {
  EXPECT_EQ(strip_ansi("\x1b[31;1mred\x1b[0m\r\n\x1b]0;title\atail\x1b["), "red\ntail");
}

TEST(Frame, TornAndHostile) {
  using namespace transfer;
  const std::string frame = encode_frame(FrameType::kHello, "payload");
  for (size_t cut = 0; cut < frame.size(); ++cut) {
    const auto torn = decode_frame(std::string_view(frame).substr(0, cut));
    ASSERT_TRUE(torn);
    EXPECT_FALSE(*torn);
  }
  const std::string longer = frame + "more";
  const auto whole = decode_frame(longer);
  ASSERT_TRUE(whole && *whole);
  EXPECT_EQ((*whole)->payload, "payload");
  EXPECT_FALSE(decode_frame("Last login: today"));
  EXPECT_FALSE(decode_frame(std::string("\x01\xff\xff\xff\xff", 5)));
}

}  // namespace
}  // namespace flurry::nix
