#include "cli/verbs/rollback_choice.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace flurry {
namespace {

StorePath path(const std::string& name) {
  return *StorePath::parse("/nix/store/" + std::string(32, '0') + "-" + name);
}

// A host whose releases come one after another, an hour apart.
struct Host {
  HostConfig config{.name = *HostName::parse("h1")};
  Inspection inspection;
  std::vector<PastDeployment> past;  // newest first
  long long hour = 0;

  ProfileState& state_of(const std::string& profile) { return inspection.facts.state.user_profiles[profile]; }

  std::optional<StorePath> named(const std::string& profile) {
    return profile == "system" ? inspection.facts.state.profile : state_of(profile).path;
  }

  // As Nix does it: a new generation, unless the newest names the closure already.
  void set(const std::string& profile, const StorePath& closure) {
    const std::string of = profile == "system" ? "" : profile;
    uint64_t last = 0;
    std::optional<StorePath> newest;
    for (const auto& generation : inspection.generations)
      if (generation.profile == of) {
        last = generation.number;
        newest = generation.path;
      }
    if (newest != closure) inspection.generations.push_back({++last, closure, hour * 3'600'000, of});
    if (profile == "system") {
      inspection.facts.state.running = inspection.facts.state.profile = closure;
      inspection.facts.state.generation = last;
    } else {
      state_of(profile) = {closure, last};
    }
  }

  void by_hand(const std::string& profile, const std::string& closure) {
    ++hour;
    set(profile, path(closure));
  }

  void deploy(const std::vector<std::pair<std::string, std::string>>& release,
              const std::string& outcome = "succeeded") {
    std::vector<FixedProfile> profiles;
    for (const auto& [name, closure] : release) profiles.push_back({{name, "root", ""}, path(closure)});
    begin(profiles, outcome);
  }

  void begin(const std::vector<FixedProfile>& profiles, const std::string& outcome = "succeeded") {
    ++hour;
    PastDeployment deployment{.goal = "switch", .outcome = outcome};
    deployment.started_unix_ms = hour * 3'600'000 - 5'000;
    deployment.ended_unix_ms = hour * 3'600'000 + 5'000;
    for (const auto& [profile, closure, generation] : profiles) {
      const auto before = named(profile.name);
      deployment.changes.push_back({profile.name, before ? before->str() : "", closure.str(), generation});
      set(profile.name, closure);
    }
    past.insert(past.begin(), deployment);
  }

  // "system-1 home-1", or why not.
  std::string choose(std::optional<unsigned long long> to = {}) const {
    const auto choice = choose_rollback(config, inspection, past, to);
    if (!choice) return "refused: " + choice.error().message;
    std::string out;
    for (const auto& profile : choice->profiles)
      out += (out.empty() ? "" : " ") + std::string(profile.path.name());
    return out;
  }

  std::string roll_back(std::optional<unsigned long long> to = {}) {
    const std::string out = choose(to);
    if (const auto choice = choose_rollback(config, inspection, past, to)) begin(choice->profiles);
    return out;
  }
};

Host with_home() {
  Host host;
  host.config.profiles["home"] = {.user = "alice", .has_path = true};
  return host;
}

TEST(RollbackChoice, TakesEveryDeclaredProfileBack) {
  Host host = with_home();
  host.deploy({{"system", "system-1"}, {"home", "home-1"}, {"other", "other-1"}});
  host.deploy({{"system", "system-2"}, {"home", "home-2"}, {"other", "other-2"}});
  EXPECT_EQ(host.roll_back(), "system-1 home-1") << "what the host doesn't declare is not ours";
}

TEST(RollbackChoice, ASecondTimeGoesFurtherBackAndNeverForward) {
  Host host = with_home();
  for (const std::string release : {"1", "2", "3"})
    host.deploy({{"system", "system-" + release}, {"home", "home-" + release}});
  EXPECT_EQ(host.roll_back(), "system-2 home-2");
  EXPECT_EQ(host.roll_back(), "system-1 home-1");
  EXPECT_EQ(host.roll_back(),
            "refused: there is no generation before this one; the host has: 1, 2, 3, 4, 5; "
            "profile home: there is no generation before this one; the host has: 1, 2, 3, 4, 5");
}

TEST(RollbackChoice, GoesOnFromWhereAnEarlierOneLandedAfterANewReleaseToo) {
  Host host;
  for (const std::string release : {"1", "2"}) host.deploy({{"system", "system-" + release}});
  EXPECT_EQ(host.roll_back(), "system-1");
  host.deploy({{"system", "system-3"}});
  EXPECT_EQ(host.roll_back(), "system-1");
  EXPECT_EQ(host.choose().substr(0, 8), "refused:") << "generation 2 was left, and is no way back";
}

TEST(RollbackChoice, AReleaseThatIsDeployedOnceMoreIsNoRollback) {
  Host host;
  for (const std::string release : {"1", "2", "1"}) host.deploy({{"system", "system-" + release}});
  EXPECT_EQ(host.choose(), "system-2");
}

TEST(RollbackChoice, WhatOthersSwitchedAfterARollbackCounts) {
  Host host;
  for (const std::string release : {"1", "2"}) host.deploy({{"system", "system-" + release}});
  host.roll_back();
  host.by_hand("system", "system-3");
  EXPECT_EQ(host.choose(), "system-1");
  host.by_hand("system", "system-1");
  EXPECT_EQ(host.choose(), "system-3");
}

TEST(RollbackChoice, NeverToAGenerationThatWasNotCommitted) {
  Host host = with_home();
  host.deploy({{"system", "system-1"}, {"home", "home-1"}});
  host.deploy({{"home", "home-2"}}, "rollback-failed");
  host.deploy({{"system", "system-3"}, {"home", "home-3"}});
  EXPECT_EQ(host.choose(), "system-1 home-1");
  // What failed at first and was committed later is a release like any other.
  host.deploy({{"home", "home-4"}}, "rollback-failed");
  host.deploy({{"home", "home-3"}});
  host.deploy({{"home", "home-4"}});
  host.deploy({{"home", "home-5"}});
  EXPECT_EQ(host.choose(), "system-1 home-4");
}

TEST(RollbackChoice, AHostWithoutADeclaredSystemKeepsTheOneThatItHas) {
  Host host = with_home();
  host.config.profiles.erase("system");
  host.by_hand("system", "system-1");
  host.by_hand("system", "system-2");
  EXPECT_EQ(host.choose(),
            "refused: profile home: there is no generation before this one; the host has: none");
  host.deploy({{"home", "home-1"}});
  host.deploy({{"home", "home-2"}});
  EXPECT_EQ(host.choose(), "home-1");
  EXPECT_NE(host.choose(1).find("declares no system profile"), std::string::npos);
}

TEST(RollbackChoice, AProfileWithNothingBeforeItStaysAndIsNamed) {
  Host host = with_home();
  host.deploy({{"system", "system-1"}, {"home", "home-1"}});
  host.deploy({{"system", "system-2"}, {"home", "home-1"}});
  const auto choice = choose_rollback(host.config, host.inspection, host.past, {});
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->profiles.size(), 1U);
  EXPECT_EQ(choice->notes.back(), "profile home: stays: there is no generation before this one");
}

TEST(RollbackChoice, AnyGenerationOfTheSystemCanBeNamed) {
  Host host = with_home();
  for (const std::string release : {"1", "2", "3"})
    host.deploy({{"system", "system-" + release}, {"home", "home-" + release}});
  EXPECT_EQ(host.roll_back(1), "system-1");
  EXPECT_EQ(host.roll_back(2), "system-2");
  EXPECT_EQ(host.choose(), "system-1 home-2") << "on from the place of the generation that was named";
  EXPECT_EQ(host.choose(99), "refused: there is no generation 99; the host has: 1, 2, 3, 4, 5");
}

}  // namespace
}  // namespace flurry
