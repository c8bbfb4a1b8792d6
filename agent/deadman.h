#pragma once

#include <functional>
#include <string>

#include "agent/journal.h"
#include "agent/paths.h"
#include "agent/system.h"

namespace flurry::agent {

// How patient a deadman is; tests are less so.
struct DeadmanOptions {
  // Asked again each time: a deadman may outlive the boot that it was started in (a soft reboot).
  std::function<Result<std::string>()> boot_id;
  // False while a shutdown or a start-up is under way, in which nothing can be brought back.
  std::function<bool(bool is_other_boot)> may_act = [](bool) { return true; };
  // Called once, when it has read its journal; before it acts.
  std::function<void()> on_watch = [] {};
  Millis grace = kDeadmanGrace;        // after the recorded deadline
  Millis stalled_for = kDeadmanGrace;  // no journal write by an overdue holder: it is killed
};

// Watches one deployment's journal until its story has ended. When its deadline has passed by the grace
// and nobody acts, takes the executor lock, from a stuck agent by killing it, and drives the deployment
// to its end itself. Acts within a moment of the time at which it may; returns when the deployment has ended.
void run_deadman(const DeploymentId& id, System& system, Journal& journal, const Paths& paths,
                 const DeadmanOptions& options);

}  // namespace flurry::agent
