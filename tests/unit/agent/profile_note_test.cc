#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "agent/profile.h"
#include "temp_dir.h"

// What an agent remembers of a user profile that was set and whose activation has not ended well.

namespace flurry::agent {
namespace {

StorePath closure(const std::string& name) {
  return *StorePath::parse("/nix/store/" + std::string(32, '0') + "-" + name);
}

struct Host {
  TempDir dir;
  Paths paths{dir.str()};
  ProfileRef home{"home", "alice", "/home/alice/.local/state/nix/profiles/home"};

  // A closure that brings `script` to run; an empty one brings nothing.
  StorePath add(const std::string& name, const std::string& script) const {
    const std::filesystem::path place(paths.root + closure(name).str());
    std::filesystem::create_directories(place);
    if (script.empty()) return closure(name);
    std::ofstream(place / script) << "#!/bin/sh\n";
    std::filesystem::permissions(place / script, std::filesystem::perms::owner_all);
    return closure(name);
  }

  bool counts_as_activated(const StorePath& named) const { return is_activated(paths, home, {named, 1}); }
};

TEST(ProfileNote, WhatWasOnlySetIsNotActivated) {
  const Host host;
  const StorePath first = host.add("home-1", "activate");
  EXPECT_TRUE(host.counts_as_activated(first)) << "without a note others have activated it";
  ASSERT_TRUE(note_unactivated(host.paths, host.home, first));
  EXPECT_FALSE(host.counts_as_activated(first));
  note_activated(host.paths, host.home);
  EXPECT_TRUE(host.counts_as_activated(first));
}

TEST(ProfileNote, IsAboutOneClosureOfOneLink) {
  const Host host;
  const StorePath first = host.add("home-1", "deploy-rs-activate");
  ASSERT_TRUE(note_unactivated(host.paths, host.home, first));
  EXPECT_TRUE(host.counts_as_activated(host.add("home-2", "activate"))) << "somebody else has set another";
  EXPECT_TRUE(is_activated(host.paths, {"home", "bob", "/home/bob/home"}, {first, 1}));
}

TEST(ProfileNote, AClosureWithNothingToRunNeedsNone) {
  const Host host;
  ASSERT_TRUE(note_unactivated(host.paths, host.home, host.add("home-1", "activate")));
  ASSERT_TRUE(note_unactivated(host.paths, host.home, host.add("tools", "")));
  EXPECT_TRUE(host.counts_as_activated(closure("tools")));
  EXPECT_TRUE(host.counts_as_activated(closure("home-1"))) << "the note before is gone too";
}

}  // namespace
}  // namespace flurry::agent
