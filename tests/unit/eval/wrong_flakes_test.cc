// Mistakes of people who are new, each with the words that they get: the place, the cause, what to do.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/sys/clock.h"
#include "eval/nix_evaluator.h"
#include "tests/unit/eval/nix_sandbox.h"

namespace flurry::eval {
namespace {

class WrongFlake : public testing::Test {
 protected:
  void SetUp() override {
    std::string why_not;
    nix_ = NixSandbox::get(why_not);
    if (nix_ == nullptr) GTEST_SKIP() << why_not;
  }

  // What flurry says to it, or "accepted".
  std::string said(const std::string& flake) {
    const auto fleet = NixEvaluator(nix_->options()).load_fleet(flake, sys::now() + Millis(60'000), {});
    if (!fleet) return fleet.error().message;
    for (const auto& host : fleet->hosts)
      if (host.error) return host.error->message;
    return "accepted";
  }
  std::string said_to(const std::string& outputs) { return said(nix_->flake(outputs)); }

  // The part of the message that must be there; all of it, where that is short.
  void expect(const std::string& message, const std::string& part) {
    EXPECT_NE(message.find(part), std::string::npos) << "wanted: " << part << "\n  said: " << message;
    EXPECT_LT(message.size(), 1500u) << message;
    EXPECT_EQ(message.find('\x1b'), std::string::npos) << "colours";
  }

  NixSandbox* nix_ = nullptr;
};

TEST_F(WrongFlake, OfWhatIsInAFleet) {
  const std::string web = "nixosConfigurations.web = nixos (mk \"s\" \"\"); ";
  const std::pair<std::string, const char*> cases[] = {
      // 1-4: names
      {web + "flurry.hosts.web.targethost = \"h\";",
       "flurry.hosts.web.targethost: unknown field (did you mean 'targetHost'?)"},
      {web + "flurry.host.web = { };", "flurry.host: unknown field (did you mean 'hosts'?)"},
      {web + "flurry.hosts.wbe = { };",
       "flurry.hosts.wbe: no nixosConfigurations has this name (did you mean 'web'?); name it so, or set "
       "profiles.system.path"},
      {web + "flurry.hosts.web.requires = [ \"wbe\" ];",
       "flurry.hosts.web.requires: no host is named 'wbe' (did you mean 'web'?)"},
      // 5-10: types and values
      {web + "flurry.hosts.web.tags = \"web\";",
       "flurry.hosts.web.tags: must be a list of strings, is a string"},
      {web + "flurry.hosts.web.targetPort = \"22\";",
       "flurry.hosts.web.targetPort: must be an integer, is a string"},
      {web + "flurry.hosts.web.targetPort = 70000;",
       "flurry.hosts.web.targetPort: must be 1 to 65535, is 70000"},
      {web + "flurry.hosts.web.confirmTimeout = \"10 parsecs\";",
       "flurry.hosts.web.confirmTimeout: '10 parsecs' is"},
      {web + "flurry.hosts.web.magicRollback = \"yes\";",
       "flurry.hosts.web.magicRollback: must be a bool, is a string"},
      {web + "flurry.hosts.web.targetHost = \"root@h\";", "flurry.hosts.web.targetHost: "},
      // 11-14: health
      {web + "flurry.hosts.web.health.checks.site.htp.url = \"http://localhost\";",
       "flurry.hosts.web.health.checks.site.htp: unknown field (did you mean 'http'?)"},
      {web + "flurry.hosts.web.health.checks.site = { };", "flurry.hosts.web.health.checks.site: "},
      {web + "flurry.hosts.web.health.checks.site = { tcp = \"h:1\"; unit = \"x.service\"; };",
       "flurry.hosts.web.health.checks.site: "},
      {web + "flurry.hosts.web.health.checks.site.http.url = \"localhost\";",
       "flurry.hosts.web.health.checks.site.http.url: "},
      // 15-18: profiles and Nix itself
      {web + "flurry.hosts.web = { profilesOrder = [ \"alcie\" ]; profiles.alice = { user = \"alice\"; path "
             "= mk \"x\" "
             "\"\"; }; };",
       "flurry.hosts.web.profilesOrder: no profile is named 'alcie' (did you mean 'alice'?)"},
      {web + "flurry.hosts.web.profiles.alice.user = \"alice\";",
       "flurry.hosts.web.profiles.alice.path: is missing"},
      {web + "flurry.hosts.web.targetHost = adress;", "undefined variable 'adress'"},
      {web + "flurry.hosts.web.tags = [ web ];", "undefined variable 'web'"},
  };
  for (const auto& [outputs, part] : cases) {
    const std::string message = said_to(outputs);
    if (std::getenv("FLURRY_SHOW_MESSAGES") != nullptr)
      std::printf("%s\n    => %s\n", outputs.c_str(), message.c_str());
    expect(message, part);
  }
}

TEST_F(WrongFlake, ThatIsNoFlake) {
  const auto folder = nix_->raw_flake("");
  std::filesystem::remove(folder + "/flake.nix");
  std::ofstream(folder + "/configuration.nix") << "{ }";
  const std::pair<std::string, const char*> cases[] = {
      {folder, "flake.nix"},
      {nix_->raw_flake("{ outputs = { self }: { nixosConfigurations = { } }; }"), "syntax error"},
      {nix_->raw_flake("{ nixosConfigurations = { }; }"), "lacks attribute 'outputs'"},
      {nix_->raw_flake(
           "{ outputs = { self, nixpkgs }: { }; inputs.nixpkgs.url = \"path:/nowhere/nixpkgs\"; }"),
       "/nowhere/nixpkgs"},
      {nix_->raw_flake("{ outputs = { self }: import ./hosts.nix; }"), "hosts.nix"},
      {nix_->raw_flake(
           "{ outputs = inputs: { nixosConfigurations.web = inputs.nixpkgs.lib.nixosSystem { }; }; }"),
       "accepted"},  // nothing of a system is looked at yet
      {nix_->raw_flake("{ outputs = { self }: { nixosConfigurations = throw \"my own words\"; }; }"),
       "my own words"},
      {nix_->flake("packages.x86_64-linux.default = mk \"x\" \"\";"),
       "has none of the outputs 'flurry', 'deploy', 'colmenaHive' and 'nixosConfigurations': add one"},
  };
  for (const auto& [flake, part] : cases) {
    const std::string message = said(flake);
    if (std::getenv("FLURRY_SHOW_MESSAGES") != nullptr)
      std::printf("%s\n    => %s\n", flake.c_str(), message.c_str());
    expect(message, part);
  }
}

}  // namespace
}  // namespace flurry::eval
