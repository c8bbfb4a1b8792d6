#pragma once

#include <memory>
#include <string>

#include "agent/journal.h"
#include "agent/paths.h"
#include "agent/system.h"

namespace flurry::agent {

// What a process of the agent acts on, behind its two seams.
struct Host {
  std::unique_ptr<System> system;
  std::unique_ptr<Journal> journal;
};

// `program` is the flurry-agent whose verbs run in units and probes: a path that stays.
using MakeHost = Host (*)(const Paths& paths, const std::string& program, bool is_deadman);

// The host that this machine is.
Host make_nixos_host(const Paths& paths, const std::string& program, bool is_deadman);

}  // namespace flurry::agent
