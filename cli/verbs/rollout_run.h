#pragma once

#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "cli/verbs/context.h"

namespace flurry {

// Deploys to every host of `fleet` and reports it all, as `deploy` and `rollback` both do. `fixed` is
// empty, or holds for each host what it already has and shall go to.
int run_rollout(Context& context, const Fleet& fleet, Goal goal,
                std::vector<std::vector<FixedProfile>> fixed);

// 128 random bits in 32 hex digits: who knows them can confirm.
std::string make_nonce();

// What somebody types, up to the end of its line or of the file; nothing where `stop` was requested first.
std::optional<std::string> read_line(int fd, const std::stop_token& stop);

// Whether what somebody typed is a yes; nothing at all is a no.
bool is_yes(const std::string& answer);

// True when the user agrees to `question`, or was not to be asked (--yes, or nobody sits there).
bool agreed(const Context& context, const std::string& question);

// "web-01, web-02 and 6 more"
std::string name_some(const Fleet& fleet);

}  // namespace flurry
