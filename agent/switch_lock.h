#pragma once

#include <string>

#include "core/result.h"

namespace flurry::agent {

// The lock that switch-to-configuration takes, and gives up at once where it can't have it. NixOS makes the
// file readable to all, and who can open a file can lock it: any user could keep a host from being
// switched, and so from going back. Takes away other users' access, and the file itself from a user who
// holds the lock; a switch of root's that runs keeps it. Call it before each switch. Any thread.
Result<void> guard_switch_lock(const std::string& path);

}  // namespace flurry::agent
