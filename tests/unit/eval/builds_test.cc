#include "eval/builds.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <thread>

#include "core/sys/bounded_queue.h"
#include "core/sys/clock.h"
#include "core/sys/subprocess.h"
#include "eval/nix_evaluator.h"
#include "tests/unit/eval/nix_sandbox.h"

namespace flurry::eval {
namespace {

struct Answer {
  size_t host;
  std::string text;  // "built", or the error
  TimePoint at = sys::now();
};

class BuildsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string why_not;
    nix_ = NixSandbox::get(why_not);
    if (nix_ == nullptr) GTEST_SKIP() << why_not;
    options_ = nix_->options();
    // For the daemon that is started here: else each doubt waits for a cache that can't be reached.
    ::setenv("NIX_CONFIG", "sandbox = false\nbuild-users-group =\nsubstituters =", 1);
  }
  void TearDown() override { ::unsetenv("NIX_CONFIG"); }

  static TimePoint soon() { return sys::now() + Millis(60'000); }

  // Evaluates the hosts of `nixosConfigurations` and asks for all of them at once.
  void start(const std::string& configurations) {
    evaluator_.emplace(options_);
    const auto fleet =
        evaluator_->load_fleet(nix_->flake("nixosConfigurations = " + configurations + ";"), soon(), {});
    ASSERT_TRUE(fleet) << fleet.error().message;
    std::vector<size_t> all;
    for (size_t i = 0; i < fleet->hosts.size(); ++i) {
      all.push_back(i);
      names_.push_back(fleet->hosts[i].name.str());
    }
    builds_.emplace(options_, all.size(),
                    Builds::Hooks{[this](size_t, std::string_view line) { log_ += std::string(line) + "|"; },
                                  [this](size_t host, const Result<void>& built) {
                                    answers_.push({host, built ? "built" : built.error().message});
                                  }});
    evaluator_->evaluate(*fleet, all,
                         [&](size_t host, Result<HostDerivations> found) {
                           ASSERT_TRUE(found) << found.error().message;
                           outs_[names_[host]] = found->system()->out.str();
                           builds_->request(host, found->profiles);
                         },
                         soon(), {});
  }

  // The answers of so many hosts.
  std::map<std::string, Answer> wait(size_t hosts) {
    std::map<std::string, Answer> out;
    const TimePoint deadline = soon();
    while (out.size() < hosts && sys::now() < deadline)
      for (auto& answer : answers_.pop_all(deadline)) {
        const std::string name = names_[answer.host];
        EXPECT_FALSE(out.contains(name)) << name << " was answered twice";
        out.emplace(name, std::move(answer));
      }
    EXPECT_EQ(out.size(), hosts);
    return out;
  }

  // Ends the program that the connection goes to, as soon as there is one.
  static void end_store_connection() {
    for (const TimePoint deadline = soon(); sys::now() < deadline;) {
      const auto ended =
          sys::run({.argv = {"pkill", "-P", std::to_string(::getpid()), "-x", "nix-daemon"}}, deadline);
      if (ended && ended->exit_code == 0) return;
    }
    FAIL() << "there was none to end";
  }

  NixSandbox* nix_ = nullptr;
  EvalOptions options_;
  std::vector<std::string> names_;
  std::map<std::string, std::string> outs_;
  std::string log_;
  sys::BoundedQueue<Answer> answers_{100};
  std::optional<NixEvaluator> evaluator_;
  std::optional<Builds> builds_;
};

TEST_F(BuildsTest, SaysOfEachHostWhyItCouldNotBeBuilt) {
  start(R"(let bad = mk "badlib" "echo one; echo two; exit 3"; in {
      bad = nixos bad; dep = nixos (mk "dep" "echo ${bad}"); good = nixos (mk "good" "echo built; echo x > $out");
      noout = nixos (mk "noout" "exit 0"); })");
  auto answers = wait(4);
  builds_.reset();
  EXPECT_EQ(answers["good"].text, "built");
  EXPECT_NE(log_.find("good> built|"), std::string::npos) << log_;
  EXPECT_NE(answers["bad"].text.find("failed with exit code 3"), std::string::npos) << answers["bad"].text;
  EXPECT_NE(answers["bad"].text.find("\n    one\n    two\n  all of it: nix log /nix/store/"),
            std::string::npos)
      << answers["bad"].text;
  EXPECT_TRUE(answers["dep"].text.starts_with("build: dependency badlib failed: ")) << answers["dep"].text;
  EXPECT_NE(answers["noout"].text.find("failed to produce output"), std::string::npos)
      << answers["noout"].text;
}

TEST_F(BuildsTest, BuildsWhatManyHostsNeedOnceAndTellsItsFailureToEachOfThem) {
  const std::string count = testing::TempDir() + "/flurry-builds-count-" + std::to_string(::getpid());
  std::filesystem::remove_all(count);
  std::filesystem::create_directory(count);
  start("let bad = mk \"shared\" \"echo x > " + count +
        "/$$; /bin/sleep 1; exit 1\"; in builtins.listToAttrs (map "
        "(n: { name = \"h${toString n}\"; value = nixos (mk \"s${toString n}\" \"echo ${bad} > $out\"); }) "
        "(builtins.genList (n: n) 12))");
  for (const auto& [host, answer] : wait(12))
    EXPECT_TRUE(answer.text.starts_with("build: dependency shared failed: ")) << host << ": " << answer.text;
  const auto files = std::filesystem::directory_iterator(count);
  EXPECT_LE(std::distance(begin(files), end(files)), 2) << "as many as programs, never one a host";
}

// h2's `lib` is in the store, though what it was once made of can't be made any more.
TEST_F(BuildsTest, AFailureIsNotToldToAHostThatCanDoWithoutWhatFailed) {
  const std::string flag = testing::TempDir() + "/flurry-builds-flag-" + std::to_string(::getpid());
  const std::string shared = "src = mk \"src\" \"test ! -e " + flag +
                             " && echo x > $out\"; lib = mk \"lib\" "
                             "\"echo ${src} > /dev/null; echo lib > $out\";";
  std::filesystem::remove(flag);
  start("let " + shared + " in { first = nixos lib; }");
  EXPECT_EQ(wait(1).at("first").text, "built");
  builds_.reset();
  names_.clear();
  std::ofstream(flag) << "from now on";
  const auto src = sys::run_checked(
      {.argv = {"sh", "-c", "nix-store --delete /nix/store/*-src"}, .environment = options_.environment},
      soon());
  ASSERT_TRUE(src) << src.error().message;
  start("let " + shared +
        " in { bad = nixos src; good = nixos (mk \"good\" \"/bin/sleep 2; echo ${lib} > $out\"); }");
  const auto answers = wait(2);
  EXPECT_NE(answers.at("bad").text, "built");
  EXPECT_EQ(answers.at("good").text, "built");
  std::filesystem::remove(flag);
}

TEST_F(BuildsTest, WhatFailedForOneHostIsNotBuiltAgainForALaterOne) {
  const std::string count = testing::TempDir() + "/flurry-builds-later-" + std::to_string(::getpid());
  std::filesystem::remove_all(count);
  std::filesystem::create_directory(count);
  start("let bad = mk \"shared-late\" \"echo x > " + count +
        "/$$; exit 1\"; in { a = nixos (mk \"a\" \"echo ${bad}\"); "
        "b = nixos (mk \"b\" \"echo ${bad} > /dev/null\"); }");
  wait(2);
  const auto drv = sys::run_checked(
      {.argv = {"sh", "-c", "ls /nix/store/*-b.drv"}, .environment = options_.environment}, soon());
  ASSERT_TRUE(drv);
  const auto out = *StorePath::parse(outs_["b"]);
  builds_->request(1, {{{"system", "root", ""}, *StorePath::parse(drv->substr(0, drv->find('\n'))), out}});
  EXPECT_TRUE(wait(1).at("b").text.starts_with("build: dependency shared-late failed: "));
  const auto files = std::filesystem::directory_iterator(count);
  EXPECT_EQ(std::distance(begin(files), end(files)), 1);
}

TEST_F(BuildsTest, AHostWaitsForNoOthersBuild) {
  options_.nix_options = {{"max-jobs", "2"}};
  start(R"({ slow = nixos (mk "slow" "/bin/sleep 20; echo x > $out");
             bad = nixos (mk "bad" "exit 1"); quick = nixos (mk "quick" "echo x > $out"); })");
  const auto answers = wait(2);
  EXPECT_FALSE(answers.contains("slow"));
  EXPECT_EQ(answers.at("quick").text, "built");
  builds_.reset();
  EXPECT_EQ(wait(1).at("slow").text, "build: stopped by the user");
}

TEST_F(BuildsTest, HoldsWhatWasBuiltForAsLongAsItLives) {
  start(R"({ a = nixos (mk "held" "echo x > $out"); })");
  EXPECT_EQ(wait(1).at("a").text, "built");
  evaluator_.reset();
  const auto collect = [this] {
    static_cast<void>(sys::run({.argv = {"nix-store", "--gc"}, .environment = options_.environment}, soon()));
  };
  collect();
  EXPECT_TRUE(std::filesystem::exists(outs_["a"]));
  builds_.reset();
  collect();
  EXPECT_FALSE(std::filesystem::exists(outs_["a"]));
}

TEST_F(BuildsTest, ABuildOutlivesTheConnectionToTheStore) {
  const std::string is_running =
      testing::TempDir() + "/flurry-builds-is-running-" + std::to_string(::getpid());
  std::filesystem::remove(is_running);
  start(R"({ a = nixos (mk "outlives" "echo > )" + is_running + R"(; /bin/sleep 2; echo x > $out"); })");
  const TimePoint deadline = soon();
  // Once while it is being opened, as it may be, and once while it is in use.
  end_store_connection();
  while (!std::filesystem::exists(is_running) && sys::now() < deadline)
    std::this_thread::sleep_for(Millis(10));
  end_store_connection();
  EXPECT_EQ(wait(1).at("a").text, "built");
}

TEST_F(BuildsTest, EverySettingOfTheUsersReachesTheBuild) {
  options_.nix_options = {{"max-silent-time", "1"}};
  start(R"({ silent = nixos (mk "silent" "/bin/sleep 30; echo x > $out"); })");
  EXPECT_NE(wait(1).at("silent").text.find("timed out"), std::string::npos);
}

}  // namespace
}  // namespace flurry::eval
