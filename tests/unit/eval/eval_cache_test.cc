#include "eval/eval_cache.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <system_error>

#include "core/sys/clock.h"
#include "core/sys/subprocess.h"
#include "eval/nix_evaluator.h"
#include "tests/unit/eval/nix_sandbox.h"

namespace flurry::eval {
namespace {

namespace fs = std::filesystem;

constexpr const char* kTwo =
    "nixosConfigurations = { a = nixos (mk \"sys-a\" \"\"); b = nixos (mk \"sys-b\" \"\"); };";

class EvaluationCache : public testing::Test {
 protected:
  void SetUp() override {
    std::string why_not;
    nix_ = NixSandbox::get(why_not);
    if (nix_ == nullptr) GTEST_SKIP() << why_not;
    options_ = nix_->options();
    std::erase_if(options_.environment,
                  [](const auto& entry) { return entry.starts_with("XDG_CACHE_HOME="); });
    options_.environment.push_back("XDG_CACHE_HOME=" + cache_);
    fs::remove_all(cache_);
  }
  ~EvaluationCache() override { fs::remove_all(cache_); }

  static TimePoint soon() { return sys::now() + Millis(60'000); }

  std::vector<fs::path> files() const {
    std::vector<fs::path> out;
    std::error_code none;
    for (fs::directory_iterator it(cache_ + "/flurry/eval", none), end; it != end; ++it)
      out.push_back(it->path());
    return out;
  }

  // Host to its derivation, or its error.
  std::map<std::string, std::string> evaluate(const std::string& flake) {
    NixEvaluator evaluator(options_);
    const auto fleet = evaluator.load_fleet(flake, soon(), {});
    EXPECT_TRUE(fleet) << fleet.error().message;
    std::map<std::string, std::string> out;
    if (!fleet) return out;
    std::vector<size_t> all;
    for (size_t i = 0; i < fleet->hosts.size(); ++i) all.push_back(i);
    evaluator.evaluate(*fleet, all,
                       [&](size_t host, Result<HostDerivations> found) {
                         out[fleet->hosts[host].name.str()] =
                             found ? found->system()->drv.str() : found.error().message;
                       },
                       soon(), {});
    return out;
  }

  // Makes the cache say b's derivation where a's was: who reads it is found out.
  void swap_in_cache() {
    ASSERT_EQ(files().size(), 1u);
    std::ifstream in(files()[0]);
    std::string head, a, b;
    std::getline(in, head);
    std::getline(in, a);
    std::getline(in, b);
    std::ofstream(files()[0]) << head << "\na" << b.substr(1) << "\nb" << a.substr(1) << "\nend\n";
  }

  void git(const std::string& folder, const std::string& words) {
    const auto done = sys::run_checked(
        {.argv = {"sh", "-c", "git -C " + folder + " -c user.name=t -c user.email=t@t " + words}}, soon());
    ASSERT_TRUE(done) << done.error().message;
  }

  NixSandbox* nix_ = nullptr;
  EvalOptions options_;
  const std::string cache_ = testing::TempDir() + "/flurry-cache-test-" + std::to_string(::getpid());
};

TEST_F(EvaluationCache, AnswersForALockedFlakeThatWasEvaluatedBefore) {
  const auto flake = nix_->flake(kTwo);
  const auto first = evaluate(flake);
  swap_in_cache();
  const auto second = evaluate(flake);
  EXPECT_EQ(second.at("a"), first.at("b"));
  EXPECT_EQ(second.at("b"), first.at("a"));
}

TEST_F(EvaluationCache, NeverAnswersForAnotherFlakeOptionOrSetting) {
  const auto flake = nix_->flake(kTwo);
  evaluate(flake);
  EXPECT_EQ(files().size(), 1u);
  options_.nix_options = {{"allow-import-from-derivation", "false"}};
  evaluate(flake);
  EXPECT_EQ(files().size(), 2u);
  std::ofstream(flake + "/new-file") << "x";
  evaluate(flake);
  EXPECT_EQ(files().size(), 3u);
}

TEST_F(EvaluationCache, IsOffForImpureEvaluationAndWhereTheUserSaysSo) {
  const auto flake = nix_->flake(kTwo);
  options_.impure = true;
  evaluate(flake);
  options_.impure = false;
  options_.nix_options = {{"eval-cache", "false"}};
  evaluate(flake);
  EXPECT_TRUE(files().empty());
}

TEST_F(EvaluationCache, NeverAnswersForAChangedWorkTree) {
  const auto flake = nix_->flake(kTwo);
  git(flake, "init -q . && git -C " + flake + " add -A");
  evaluate("git+file://" + flake);
  EXPECT_TRUE(files().empty()) << "nothing is committed yet";
  git(flake, "commit -qm one");
  const auto committed = evaluate("git+file://" + flake);
  EXPECT_EQ(files().size(), 1u);
  std::ofstream(flake + "/flake.nix", std::ios::app) << "# changed\n";
  swap_in_cache();
  EXPECT_EQ(evaluate("git+file://" + flake), committed);
  EXPECT_EQ(files().size(), 1u);
}

TEST_F(EvaluationCache, KeepsNothingOfInputsThatNoFileLocks) {
  const auto input = nix_->raw_flake("{ outputs = { self }: { name = \"x\"; }; }");
  const auto flake =
      nix_->raw_flake("{ inputs.x.url = \"path:" + input +
                      "\"; outputs = { self, x }: { nixosConfigurations.a.config.system.build.toplevel = "
                      "derivation { inherit (x) name; system = \"x86_64-linux\"; builder = "
                      "\"/bin/sh\"; }; }; }");
  evaluate(flake);
  EXPECT_TRUE(files().empty());
}

TEST_F(EvaluationCache, AsksTheStoreWhetherADerivationIsStillThere) {
  const auto flake = nix_->flake(kTwo);
  const auto first = evaluate(flake);
  ASSERT_TRUE(sys::run_checked(
      {.argv = {"nix-store", "--delete", first.at("a")}, .environment = options_.environment}, soon()));
  EXPECT_EQ(evaluate(flake), first);
  EXPECT_TRUE(fs::exists(first.at("a")));
}

TEST_F(EvaluationCache, ReadsATornOrHostileFileAsAnEmptyOne) {
  const auto flake = nix_->flake(kTwo);
  const auto first = evaluate(flake);
  const fs::path file = files().at(0);
  std::ifstream in(file);
  const std::string good{std::istreambuf_iterator<char>(in), {}};
  for (const std::string& bad :
       {std::string(), good.substr(0, good.size() / 2), "another format\n" + good,
        good + "a system /etc/passwd x\n",
        good + std::string("a system ") + first.at("b") + " " + first.at("b") + " more\n"}) {
    std::ofstream(file) << bad;
    EXPECT_EQ(evaluate(flake), first) << bad;
  }
  fs::remove(file);
  fs::create_directory(file);
  EXPECT_EQ(evaluate(flake), first);
}

TEST_F(EvaluationCache, HoldsWhatItFoundForAsLongAsTheRunNeedsIt) {
  const auto flake = nix_->flake(kTwo);
  std::string drv;
  const auto collect = [this] {
    static_cast<void>(sys::run({.argv = {"nix-store", "--gc"}, .environment = options_.environment}, soon()));
  };
  {
    NixEvaluator evaluator(options_);
    const auto fleet = evaluator.load_fleet(flake, soon(), {});
    ASSERT_TRUE(fleet) << fleet.error().message;
    evaluator.evaluate(*fleet, {0},
                       [&](size_t, Result<HostDerivations> found) {
                         ASSERT_TRUE(found) << found.error().message;
                         drv = found->system()->drv.str();
                       },
                       soon(), {});
    collect();
    EXPECT_TRUE(fs::exists(drv));
  }
  collect();
  EXPECT_FALSE(fs::exists(drv));
}

TEST_F(EvaluationCache, ReadsAFileThatLacksAFewBytesAtItsEndAsAnEmptyOne) {
  const auto flake = nix_->flake(kTwo);
  const auto outs = [&] {
    NixEvaluator evaluator(options_);
    const auto fleet = evaluator.load_fleet(flake, soon(), {});
    std::map<std::string, std::string> out;
    if (!fleet) return out;
    evaluator.evaluate(*fleet, {0, 1},
                       [&](size_t host, Result<HostDerivations> found) {
                         out[fleet->hosts[host].name.str()] =
                             found ? found->system()->out.str() : found.error().message;
                       },
                       soon(), {});
    return out;
  };
  const auto first = outs();
  const fs::path file = files().at(0);
  std::ifstream in(file);
  const std::string good{std::istreambuf_iterator<char>(in), {}};
  for (size_t cut : {1, 2, 4, 5, 6, 9}) {
    std::ofstream(file) << good.substr(0, good.size() - cut);
    EXPECT_EQ(outs(), first) << "cut " << cut;
  }
}

TEST(EvaluationSettings, AreReadStrictlyAndOnlyForPureEvaluation) {
  EXPECT_EQ(settings_text(R"({"pure-eval":{"value":true},"cores":{"value":0,"description":"x"}})"),
            "cores=0\npure-eval=true\n");
  for (const char* text : {"", "[]", "{}", R"({"pure-eval":{"value":false}})", R"({"pure-eval":true})",
                           R"({"cores":{"value":0}})"})
    EXPECT_EQ(settings_text(text), std::nullopt) << text;
}

}  // namespace
}  // namespace flurry::eval
