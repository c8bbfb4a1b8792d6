#pragma once

#include <string>

#include "tests/sim/controller.h"

namespace flurry::sim {

struct StoryOptions {
  uint64_t seed = 1;
  size_t hosts = 5;
  bool is_traced = false;
};

struct StoryEnd {
  std::optional<std::string> broken;  // the invariant that did not hold
  uint64_t steps = 0;
  Millis longest_overdue{0};
  std::map<Outcome, size_t> outcomes;
};

// Some hosts, some controllers, and all that goes wrong, as the seed has it.
StoryEnd run_story(const StoryOptions& options);

// The command that tells it again.
std::string replay_command(const StoryOptions& options);

}  // namespace flurry::sim
