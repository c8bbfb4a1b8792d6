#pragma once

#include <string>
#include <vector>

#include "core/health_policy.h"

namespace flurry::agent {

// One try of a network check, in this process; ends it at the timeout, whatever hangs. Prints one line and
// returns 0 where the check passed, else 1; 2 for wrong arguments.
//   http [--method M] [--status N]... [--insecure-tls] [--timeout-ms N]
//     with what encode_probe_secrets() makes of the rest on the standard input
//   tcp [--timeout-ms N] -- HOST PORT
int run_probe(const std::vector<std::string>& arguments);

// URL, wanted body and headers: what may hold a password or a token, and is nobody else's to read.
std::string encode_probe_secrets(const HttpCheck& check);

}  // namespace flurry::agent
