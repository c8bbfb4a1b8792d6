#pragma once

#include <string>
#include <vector>

#include "core/result.h"

namespace flurry::ssh {

// The options of ssh that a flake names, as flurry gives them to ssh. flurry's connections are its own and
// new each time, its commands have pipes of their own: what asks for a terminal, another stdin, a control
// socket, forwardings or another log (-t -T -n -M -S -D -L -R -w -g -X -Y -E -q -v -y) is left out. -J is
// written as ProxyJump, which stands beside other options of ours. What would make ssh do something else than
// log in and run our command (-f -G -N -O -Q -s -V -W), and what is no option, is refused by name:
// kInvalidInput. Letters as of ssh(1), OpenSSH 8.4 to 10. Pure; any thread.
Result<std::vector<std::string>> usable_ssh_options(const std::vector<std::string>& given);

}  // namespace flurry::ssh
