#pragma once

namespace flurry {

// Ends the process now, with what it has started: for a user who wants to leave while threads still wait for
// hosts. Nothing is lost by it: what counts stands on the hosts.
[[noreturn]] void leave(int exit_code);

}  // namespace flurry
