#pragma once

#include <chrono>
#include <string>

#include "agent/journal.h"
#include "agent/paths.h"

namespace flurry::agent {

// What deployments leave behind on a host without anybody's fault. Each call does what it can; what
// can't be removed stays for the next time. Any thread.

// The GC roots of closures that were copied more than a day ago and never activated. An active
// deployment's stay.
void forget_stale_incoming(const Paths& paths, std::chrono::system_clock::time_point now);

// The GC roots of deployments that have ended, where their agent died before it came to that.
void forget_ended_roots(const Paths& paths, Journal& journal);

// Agents that controllers brought along more than a day ago, but those of running processes, and
// `program`, which is ours.
void forget_old_agents(const Paths& paths, const std::string& program,
                       std::chrono::system_clock::time_point now);

}  // namespace flurry::agent
