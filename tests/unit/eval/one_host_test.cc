// Nothing that one host declares stops another, in any shape of flake.
#include <gtest/gtest.h>

#include <map>

#include "core/sys/clock.h"
#include "eval/nix_evaluator.h"
#include "tests/unit/eval/nix_sandbox.h"

namespace flurry::eval {
namespace {

class OneHost : public testing::Test {
 protected:
  void SetUp() override {
    std::string why_not;
    nix_ = NixSandbox::get(why_not);
    if (nix_ == nullptr) GTEST_SKIP() << why_not;
  }

  Result<Fleet> load(const std::string& outputs, const std::string& on = "") {
    const auto selector = on.empty() ? std::optional<Selector>() : *Selector::parse(on);
    return NixEvaluator(nix_->options())
        .load_hosts(nix_->flake(outputs), selector ? &*selector : nullptr, sys::now() + Millis(60'000), {});
  }

  // Each host with the first line of what is wrong with it, or "fine".
  static std::map<std::string, std::string> told(const Result<Fleet>& fleet) {
    if (!fleet) return {{"all", fleet.error().message}};
    std::map<std::string, std::string> out;
    for (const auto& host : fleet->hosts)
      out[host.name.str()] =
          host.error ? host.error->message.substr(0, host.error->message.find('\n')) : "fine";
    return out;
  }
  using Told = std::map<std::string, std::string>;

  NixSandbox* nix_ = nullptr;
};

const std::string kHive = R"(colmenaHive = { __schema = "v0.5"; deploymentConfig = let
  node = more: { targetHost = "h"; targetPort = null; targetUser = null; tags = [ "t" ]; buildOnTarget = false;
    replaceUnknownProfiles = true; sshOptions = [ ]; privilegeEscalationCommand = [ "sudo" ]; keys = { }; } // more; in {
  a = node { }; )";
const std::string kHiveEnd = " }; toplevel = { }; };";
const std::string kNodes = R"(deploy.nodes = let
  node = more: { hostname = "h"; profiles.system = { user = "root"; path = mk "s" ""; }; } // more; in { a = node { }; )";
const std::string kSystems = "nixosConfigurations = { a = 1; bad = 1; z = 1; }; flurry.hosts = { a = { }; ";

TEST_F(OneHost, OfOurShapeThatIsWrongEndsAloneAndWithAllItsMistakes) {
  const auto fleet = load(kSystems + R"(z = { };
    bad = { targetHots = "h"; tags = "web"; health.minHealthy = "5 s"; }; typo = { }; };)");
  ASSERT_TRUE(fleet) << fleet.error().message;
  EXPECT_EQ(told(fleet).at("a") + told(fleet).at("z"), "finefine");
  EXPECT_EQ(fleet->hosts.at(1).error->message,
            "flurry.hosts.bad.health.minHealthy: '5 s' is no duration: write \"500ms\", \"10s\", \"2m\", "
            "\"1h\" or seconds\n"
            "flurry.hosts.bad.tags: must be a list of strings, is a string (write [ \"web\" ])\n"
            "flurry.hosts.bad.targetHots: unknown field (did you mean 'targetHost'?)");
  EXPECT_EQ(fleet->hosts.at(1).error->kind, ErrorKind::kInvalidInput);
  EXPECT_TRUE(told(fleet).at("typo").starts_with("flurry.hosts.typo: no nixosConfigurations has this name"));
}

TEST_F(OneHost, ThatThrowsIsNotEvenReadWhereOthersAreSelectedByName) {
  const std::pair<std::string, const char*> flakes[] = {
      {kSystems + "z = { }; bad = { targetHost = throw \"boom\"; }; };", "flurry.hosts.bad"},
      {kSystems + "z = { }; bad = abort \"boom\"; };", "flurry.hosts.bad"},
      {kNodes + "z = node { }; bad = node { hostname = throw \"boom\"; }; };", "deploy.nodes.bad"},
      {kNodes + "z = node { }; bad = abort \"boom\"; };", "deploy.nodes.bad"},
      {kHive + "z = node { }; bad = throw \"boom\";" + kHiveEnd, "colmenaHive.nodes.bad"},
      {kHive + "z = node { }; bad = node { sshOptions = abort \"boom\"; };" + kHiveEnd,
       "colmenaHive.nodes.bad"}};
  for (const auto& [outputs, place] : flakes) {
    EXPECT_EQ(told(load(outputs, "z,a")), (Told{{"a", "fine"}, {"z", "fine"}})) << outputs;
    EXPECT_EQ(told(load(outputs, "!bad")), (Told{{"a", "fine"}, {"z", "fine"}})) << outputs;
    const auto all = load(outputs);
    ASSERT_TRUE(all) << all.error().message;
    EXPECT_EQ(told(all).at("a") + told(all).at("z"), "finefine") << outputs;
    const Error& error = *all->hosts.at(1).error;
    EXPECT_TRUE(error.message.starts_with(std::string(place) + ": ")) << error.message;
    EXPECT_NE(error.message.find("boom"), std::string::npos) << error.message;
    EXPECT_EQ(error.kind, ErrorKind::kFailed) << "as of an evaluation";
  }
}

TEST_F(OneHost, ThatIsSelectedByNameAloneIsTheOnlyOneRead) {
  // What Nix traces would be seen if more were evaluated: this takes longer than anyone waits.
  const std::string slow = "(builtins.foldl' (a: b: a + b) 0 (builtins.genList (x: x) 2000000000))";
  EXPECT_EQ(told(load(kHive + "slow = " + slow + ";" + kHiveEnd, "a")), (Told{{"a", "fine"}}));
}

TEST_F(OneHost, WhatThisVersionCannotDoForItIsItsOwn) {
  const std::pair<std::string, std::string> flakes[] = {
      {kHive + "bad = node { keys.tls = { }; };" + kHiveEnd, "colmenaHive.nodes.bad.deployment.keys: "},
      {kHive + "bad = node { replaceUnknownProfiles = false; };" + kHiveEnd,
       "colmenaHive.nodes.bad.deployment.replaceUnknownProfiles: "},
      {kNodes + "bad = node { interactiveSudo = true; }; };",
       "deploy.nodes.bad.profiles.system.interactiveSudo: "},
      {kNodes + "bad = node { profiles = { }; }; };", "deploy.nodes.bad.profiles: is empty"},
      {kSystems + "bad.health.checks.x = { tcp = \"a:1\"; from = \"controller\"; }; };",
       "flurry.hosts.bad.health.checks: "},
  };
  for (const auto& [outputs, begin] : flakes) {
    auto all = told(load(outputs));
    EXPECT_EQ(all["a"], "fine") << outputs << all["all"];
    EXPECT_TRUE(all["bad"].starts_with(begin)) << all["bad"];
  }
}

TEST_F(OneHost, WithAThrowingFieldIsStillSelectedByItsTags) {
  const std::string outputs =
      kHive + "bad = node { tags = [ \"x\" ]; sshOptions = throw \"boom\"; };" + kHiveEnd;
  EXPECT_EQ(told(load(outputs, "@t")), (Told{{"a", "fine"}}));
  const auto chosen = told(load(outputs, "@x"));
  ASSERT_EQ(chosen.size(), 1u);
  EXPECT_TRUE(chosen.at("bad").starts_with("colmenaHive.nodes.bad: ")) << chosen.at("bad");
}

TEST_F(OneHost, WhoseTagsAreWrongIsEverybodysErrorOnlyWhereTagsSelect) {
  const std::string outputs = kSystems + "bad.tags = \"x\"; z.tags = [ \"y\" ]; };";
  EXPECT_EQ(told(load(outputs, "a")), (Told{{"a", "fine"}}));
  EXPECT_TRUE(told(load(outputs, "@y")).at("all").starts_with("flurry.hosts.bad.tags: must be a list"));
  const std::string throwing = kSystems + "bad.tags = throw \"boom\"; z.tags = [ \"y\" ]; };";
  EXPECT_EQ(told(load(throwing, "z")), (Told{{"z", "fine"}}));
  EXPECT_NE(told(load(throwing, "@y")).at("all").find("boom"), std::string::npos);
}

TEST_F(OneHost, WhatIsWrongForAllIsToldTogetherWithTheHostsMistakes) {
  const auto all =
      told(load(kSystems +
                "bad.tags = 1; }; flurry.defaults.targetPort = \"22\"; flurry.rollout.bake = \"x\";"))
          .at("all");
  EXPECT_TRUE(all.starts_with("flurry.defaults.targetPort: must be an integer")) << all;
  EXPECT_NE(all.find("\nflurry.rollout.bake: "), std::string::npos) << all;
  EXPECT_NE(all.find("\nflurry.hosts.bad.tags: "), std::string::npos) << all;
}

TEST_F(OneHost, AnEntryWhoseNameIsNoHostsIsLeftOutWithANote) {
  const std::string name = "\"installer@x86_64-linux\"";
  const std::pair<std::string, const char*> flakes[] = {
      {"nixosConfigurations = { a = 1; " + name + " = 1; };", "nixosConfigurations."},
      {kNodes + name + " = node { }; };", "deploy.nodes."},
      {kHive + name + " = node { };" + kHiveEnd, "colmenaHive.nodes."}};
  for (const auto& [outputs, place] : flakes) {
    const auto fleet = load(outputs);
    EXPECT_EQ(told(fleet), (Told{{"a", "fine"}})) << outputs;
    ASSERT_TRUE(fleet);
    ASSERT_EQ(fleet->notes.size(), 1u);
    EXPECT_TRUE(fleet->notes[0].starts_with(place + name + ": left out: host name")) << fleet->notes[0];
    EXPECT_TRUE(
        told(load(outputs, "installer@x86_64-linux")).at("all").ends_with("give the entry another name"));
  }
}

TEST_F(OneHost, WithVeryLongSettingsIsReadWhole) {
  const auto fleet = load(kSystems + R"(z.health.checks = builtins.listToAttrs (builtins.genList (n: {
    name = "c${toString n}"; value.command = [ "true" (builtins.substring 0 3000 (toString (builtins.genList (x: x) 2000))) ]; }) 40); };)");
  ASSERT_TRUE(fleet) << fleet.error().message;
  EXPECT_EQ(told(fleet), (Told{{"a", "fine"}, {"z", "fine"}}));
  EXPECT_EQ(fleet->hosts.at(1).health.checks.size(), 40u);
}

TEST_F(OneHost, WithAnErrorEvaluatesToIt) {
  const auto fleet = load(R"(nixosConfigurations = { a = nixos (mk "sys-a" ""); bad = nixos (mk "b" ""); };
    flurry.hosts = { a = { }; bad.targetPort = 0; };)");
  ASSERT_TRUE(fleet) << fleet.error().message;
  Told answers;
  NixEvaluator(nix_->options())
      .evaluate(*fleet, {0, 1},
                [&](size_t host, const Result<HostDerivations>& found) {
                  answers[fleet->hosts[host].name.str()] = found ? "evaluated" : found.error().message;
                },
                sys::now() + Millis(60'000), {});
  EXPECT_EQ(answers,
            (Told{{"a", "evaluated"}, {"bad", "flurry.hosts.bad.targetPort: must be 1 to 65535, is 0"}}));
}

class PackageOfThatName : public OneHost {};

TEST_F(PackageOfThatName, IsNotTheOutput) {
  const std::string packages =
      R"(packages.x86_64-linux = { deploy = mk "deploy" ""; colmena = mk "colmena" "";
    flurry = mk "flurry" ""; colmenaHive = mk "hive" ""; }; )";
  const std::string legacy =
      "legacyPackages.x86_64-linux = { deploy = { }; colmena = mk \"colmena\" \"\"; flurry = "
      "mk \"flurry\" \"\"; }; ";
  for (const auto& first : {packages, legacy}) {
    const auto plain = load(first + "nixosConfigurations.a = 1;");
    EXPECT_EQ(told(plain), (Told{{"a", "fine"}}));
    for (const auto& [outputs, schema] : {std::pair{kNodes + "};", FleetSchema::kDeployRs},
                                          std::pair{kHive + kHiveEnd, FleetSchema::kColmena},
                                          std::pair{kSystems + "};", FleetSchema::kFlurry}}) {
      const auto fleet = load(first + outputs);
      EXPECT_EQ(told(fleet), (Told{{"a", "fine"}})) << outputs;
      ASSERT_TRUE(fleet);
      EXPECT_EQ(fleet->schema, schema);
    }
  }
}

TEST_F(PackageOfThatName, DoesNotHideTheHostsSystemsEither) {
  const std::pair<std::string, std::string> flakes[] = {
      {"deploy",
       "deploy.nodes.a = { hostname = \"h\"; profiles.system = { user = \"root\"; path = mk \"sys\" \"\"; }; "
       "};"},
      {"flurry", "flurry.hosts.a.profiles.system.path = mk \"sys\" \"\";"},
      {"flurry", "flurry = { defaults.profiles.system.path = mk \"sys\" \"\"; hosts.a = { }; };"}};
  for (const auto& [package, outputs] : flakes) {
    const auto fleet = load("packages.x86_64-linux." + package + " = mk \"p\" \"\"; " + outputs);
    ASSERT_TRUE(fleet) << fleet.error().message;
    NixEvaluator(nix_->options())
        .evaluate(*fleet, {0},
                  [](size_t, const Result<HostDerivations>& found) {
                    ASSERT_TRUE(found) << found.error().message;
                    EXPECT_EQ(found->system()->out.name(), "sys");
                  },
                  sys::now() + Millis(60'000), {});
  }
}

}  // namespace
}  // namespace flurry::eval
