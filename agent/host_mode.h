#pragma once

#include <stop_token>
#include <string>

#include "core/result.h"

namespace flurry::agent {

// What systemd has made of the host as a whole, and what a way back needs of it. All of it works without
// D-Bus: root's systemctl speaks with PID 1 directly. Any thread.

enum class ManagerState {
  kUp,        // running, degraded, in emergency or rescue mode: units can be started
  kStarting,  // of a boot, or of a soft reboot
  kStopping,  // a shutdown or a soft reboot has begun: nothing can be started any more
};
Result<ManagerState> read_manager_state();

// Returns when no shutdown is under way, after four minutes at the latest.
void wait_while_stopping(const std::stop_token& stop);

// Writes the active targets into `file`, unless it is there already. It is a memory of the time before a
// switch.
Result<void> remember_targets(const std::string& file);

// Starts those of the remembered targets that are not active any more, and waits for them for up to 30 s:
// after emergency mode, rescue mode or an isolate the host becomes reachable again. Where nothing is
// remembered, the default target is started if the host is in emergency or rescue mode.
Result<void> start_lost_targets(const std::string& file, std::stop_token stop);

// A NixOS switch speaks with PID 1 over the system bus, and with logind; without them it fails midway. Starts
// what is not active, by itself: in emergency mode its dependencies would need what is broken.
void start_bus_if_gone();

}  // namespace flurry::agent
