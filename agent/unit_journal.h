#pragma once

#include <string>
#include <string_view>

#include "core/result.h"

namespace flurry::agent {

// What journalctl printed (a JSON object a line, the oldest first) of the last two messages of systemd that
// end or begin a run of a unit. True where the last one says that it ended well, and the one before it is not
// that a job stopped it: a unit that was stopped and started again since may end by itself. Any thread.
bool tells_end_by_itself(std::string_view exported);

// Asks journalctl. `since_unix_ms`: what happened before is not looked at; the journal is asked in whole
// seconds. False where it doesn't say.
Result<bool> ended_by_itself(const std::string& unit, long long since_unix_ms);

}  // namespace flurry::agent
