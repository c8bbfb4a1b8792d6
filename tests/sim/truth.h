#pragma once

#include <map>
#include <optional>
#include <string>

#include "tests/sim/machine.h"

namespace flurry::sim {

// What is so on a host at one moment, seen from outside of it.
struct Truth {
  std::optional<StorePath> running;
  std::optional<StorePath> boot_default;
  std::optional<StorePath> profile;
  std::map<std::string, std::optional<StorePath>> users;  // their profiles
  std::optional<StorePath> etc;
  std::map<std::string, Service> services;
  Services::Lists lists;
  bool has_activation_failed = false;
  uint64_t boot = 0;
};

Truth look_at(const Machine& machine);

// What is not as it was, beside the systems that are named: /etc, units, what they have loaded, what a
// switch left. `recorded` are the files of what ran. What units have in effect after somebody else's switch
// only he was told. Empty: all of it is.
std::string not_as_before(const Truth& before, const Truth& now, const Configuration& recorded,
                          bool was_somebody_here);

// True where flurry may know better than to call it back: what a unit has in effect can't be told, or the
// activation has failed.
bool is_doubtful(const Truth& now);

// What a host lacks of a system that is told to be there, its files being `wanted`. Empty: nothing.
std::string not_as_new(const Truth& before, const Truth& now, const Configuration& recorded,
                       const Configuration& wanted);

}  // namespace flurry::sim
