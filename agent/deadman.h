#pragma once

#include "agent/journal.h"
#include "agent/paths.h"
#include "agent/system.h"

namespace flurry::agent {

// How patient a deadman is; tests are less so.
struct DeadmanOptions {
  std::string boot_id;
  Millis poll{1'000};
  Millis grace = kDeadmanGrace;        // after the recorded deadline
  Millis stalled_for = kDeadmanGrace;  // no journal write by an overdue holder: it is killed
};

// Watches one deployment's journal until its story has ended. When its deadline has passed by the grace
// and nobody acts, takes the executor lock, from a stuck agent by killing it, and drives the deployment
// to its end itself. Returns when it has ended.
void run_deadman(const DeploymentId& id, System& system, Journal& journal, const Paths& paths,
                 const DeadmanOptions& options);

}  // namespace flurry::agent
