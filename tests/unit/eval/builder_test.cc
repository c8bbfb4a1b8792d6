#include "eval/builder.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "core/sys/clock.h"

namespace flurry::eval {
namespace {

namespace fs = std::filesystem;

// A directory that all may write to, as /tmp is.
class SharedDirectory {
 public:
  SharedDirectory() {
    char name[] = "/tmp/flurry-builder-test-XXXXXX";
    path_ = ::mkdtemp(name);
    if (const char* before = std::getenv("TMPDIR")) before_ = before;
    ::setenv("TMPDIR", path_.c_str(), 1);
  }
  ~SharedDirectory() {
    if (before_.empty())
      ::unsetenv("TMPDIR");
    else
      ::setenv("TMPDIR", before_.c_str(), 1);
    fs::remove_all(path_);
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
  std::string before_;
};

// What is built doesn't matter: it makes its roots first.
void build_something() {
  const auto path = *StorePath::parse("/nix/store/" + std::string(32, '0') + "-none.drv");
  const EvalOptions offline{.nix_options = {{"substituters", ""}}};
  static_cast<void>(Builder(offline)
                        .build({{"system", "root", ""}, path, path}, {}, sys::now() + Millis(20'000), {})
                        .has_value());
}

// No process has this number: the kernel's greatest is 4194304.
constexpr const char* kOfTheDead = "flurry-roots-99999999-";

TEST(Builder, ClearsUpAfterTheDeadOfItsOwnUserAlone) {
  const SharedDirectory shared;
  const auto ours = shared.path() / (std::string(kOfTheDead) + "ours");
  const auto theirs = shared.path() / (std::string(kOfTheDead) + "theirs");
  const auto open_to_all = shared.path() / (std::string(kOfTheDead) + "open");
  ASSERT_EQ(::mkdir(ours.c_str(), 0700), 0);
  ASSERT_EQ(::mkdir(theirs.c_str(), 0700), 0);
  ASSERT_EQ(::mkdir(open_to_all.c_str(), 0777), 0);
  ASSERT_EQ(::chmod(open_to_all.c_str(), 0777), 0);
  const bool is_root = ::geteuid() == 0;
  ASSERT_TRUE(!is_root || ::chown(theirs.c_str(), 65534, 65534) == 0);
  build_something();
  EXPECT_FALSE(fs::exists(ours));
  EXPECT_TRUE(fs::exists(open_to_all));
  EXPECT_TRUE(!is_root || fs::exists(theirs));
}

TEST(Builder, FollowsNoLinkThatSomebodyPutIntoASharedDirectory) {
  const SharedDirectory shared;
  const auto precious = shared.path() / "precious";
  fs::create_directories(precious / "content");
  const auto link = shared.path() / (std::string(kOfTheDead) + "link");
  fs::create_symlink(precious, link);
  build_something();
  EXPECT_TRUE(fs::is_symlink(link));
  EXPECT_TRUE(fs::exists(precious / "content"));
}

}  // namespace
}  // namespace flurry::eval
