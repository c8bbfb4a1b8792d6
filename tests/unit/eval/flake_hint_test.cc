#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "core/selector.h"
#include "core/sys/clock.h"
#include "eval/nix_evaluator.h"
#include "tests/unit/eval/nix_sandbox.h"

// Flakes as somebody would get them wrong on the first day, read by real Nix. A message must say where
// it is wrong, what is wrong, and what to do about it.

namespace flurry::eval {
namespace {

struct Mistake {
  const char* outputs;  // of a flake that has `mk` and `nixos` (nix_sandbox.h)
  const char* place;
  const char* cause;
  const char* next;
};

class FlakeHint : public testing::Test {
 protected:
  void SetUp() override {
    std::string why_not;
    nix_ = NixSandbox::get(why_not);
    if (nix_ == nullptr) GTEST_SKIP() << why_not;
  }

  Result<Fleet> load(const std::string& flake) {
    // A registry of our own: a test asks nobody outside.
    const std::string registry = nix_->raw_flake("{ }") + "/registry.json";
    std::ofstream(registry) << R"({"version":2,"flakes":[]})";
    auto options = nix_->options();
    options.nix_options.emplace_back("flake-registry", registry);
    return NixEvaluator(options).load_fleet(flake, sys::now() + Millis(60'000), {});
  }

  static void expect(const Mistake& wrong, const std::string& message, const std::string& flake) {
    for (const std::string part : {wrong.place, wrong.cause, wrong.next})
      EXPECT_NE(message.find(part), std::string::npos)
          << flake << "\n  should say: " << part << "\n  said: " << message;
    if (std::getenv("FLURRY_SHOW_MESSAGES") != nullptr)
      std::printf("%s\n    => %s\n", flake.c_str(), message.c_str());
  }

  // The folder with this text as flake.nix; with none, without one.
  void expect_unreadable(const Mistake& wrong, const std::string& file = "") {
    const std::string folder = nix_->raw_flake(wrong.outputs);
    const std::filesystem::path flake = folder + "/flake.nix";
    if (!file.empty()) std::filesystem::rename(flake, folder + "/" + file);
    const auto fleet = load(folder);
    expect(wrong, fleet ? "accepted" : fleet.error().message, file + " " + wrong.outputs);
  }

  NixSandbox* nix_ = nullptr;
};

TEST_F(FlakeHint, TellsWhatToDoAboutAFlakeThatNixCannotRead) {
  expect_unreadable(
      {"{ outputs = { self }: { ", "flake.nix:1:", "syntax error", "mend the file at the place"});
  expect_unreadable({"{ description = \"x\"; }", "flake '", "'outputs'", "add outputs ="});
  expect_unreadable({"{ inputs.lib.url = \"path:/nowhere/at/all\"; outputs = { self, lib }: { }; }",
                     "/nowhere/at/all", "an input of the flake isn't where inputs.NAME.url says",
                     "mend the URL"});
  expect_unreadable({"{ }", "flake '", "flake.nix", "write a flake.nix beside it with colmenaHive ="},
                    "hive.nix");
  expect_unreadable({"{ }", "flake '", "flake.nix", "write a flake.nix beside it with nixosConfigurations"},
                    "configuration.nix");
  expect_unreadable({"{ }", "flake '", "flake.nix", "name the folder that holds flake.nix"}, "other.nix");
  const std::filesystem::path folder = nix_->raw_flake("{ outputs = { self }: { }; }");
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(folder.parent_path());
  const auto bare = load(folder.filename());
  std::filesystem::current_path(before);
  expect({"", "flake 'flake", "registr", "write ./flake"}, bare ? "accepted" : bare.error().message,
         "a folder's bare name");
  for (const char* name : {"nosuchdir", "no/such/dir"}) {
    const auto bare_path = load(name);
    expect({"", "'", "is no folder here; Nix takes this for a name in its registry", "write ./"},
           bare_path ? "accepted" : bare_path.error().message, name);
  }
  std::filesystem::rename(folder / "flake.nix", folder / "hive.nix");
  std::filesystem::current_path(folder);
  const auto hive = load("hive.nix");
  std::filesystem::current_path(before);
  expect(
      {"", "flake 'hive.nix'", "a hive outside of a flake", "write a flake.nix beside it with colmenaHive ="},
      hive ? "accepted" : hive.error().message, "hive.nix");
  const auto gone = load("/nowhere/at/all");
  expect({"", "/nowhere/at/all", "there is no such folder", "name the one that holds flake.nix"},
         gone ? "accepted" : gone.error().message, "no folder");
}

TEST_F(FlakeHint, TellsWhatASelectionThatFitsNobodyGotWrong) {
  const auto fleet =
      load(nix_->flake("flurry.hosts = { web-01.tags = [ \"web\" ]; db-01 = { }; }; nixosConfigurations = { "
                       "web-01 = 1; db-01 = 1; };"));
  ASSERT_TRUE(fleet) << fleet.error().message;
  const Mistake cases[] = {
      {"web-1", "selector", "no host is named 'web-1'", "did you mean 'web-01'?"},
      {"@wbe", "selector", "no host has the tag 'wbe'", "did you mean 'web'?"},
      {"web", "selector", "no host is named 'web'", "write '@web'"},
      {"(web-01,db-01", "position 1", "'(' without ')'", "\n  ^"},
      {"@web & db-01", "selector", "matches no host", "flurry hosts lists all"},
  };
  for (const auto& wrong : cases) {
    const auto selector = Selector::parse(wrong.outputs);
    std::string message = selector ? "accepted" : selector.error().message;
    if (selector) {
      const auto chosen = selector->select(*fleet);
      if (!chosen) message = chosen.error().message;
    }
    expect(wrong, message, wrong.outputs);
  }
}

TEST_F(FlakeHint, AnEntryThatIsNoSystemLosesThatHostOnly) {
  const auto fleet =
      load(nix_->flake("nixosConfigurations = { one = nixos (mk \"one\" \"\"); two = { }; three = 3; };"));
  ASSERT_TRUE(fleet) << fleet.error().message;
  std::map<std::string, std::string> said;
  NixEvaluator(nix_->options())
      .evaluate(*fleet, {0, 1, 2},
                [&](size_t host, Result<HostDerivations> derivations) {
                  said[fleet->hosts[host].name.str()] =
                      derivations ? "evaluated" : derivations.error().message;
                },
                sys::now() + Millis(60'000), {});
  EXPECT_EQ(said["one"], "evaluated");
  expect({"", "nixosConfigurations.two", "is no NixOS system", "make it with nixpkgs.lib.nixosSystem"},
         said["two"], "two = { }");
  expect({"", "nixosConfigurations.three", "is no NixOS system", "make it with nixpkgs.lib.nixosSystem"},
         said["three"], "three = 3");
}

}  // namespace
}  // namespace flurry::eval
