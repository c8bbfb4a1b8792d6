#pragma once

#include <string>
#include <vector>

namespace flurry::agent {

// One try of a network check, in this process; ends it at the timeout, whatever hangs. Prints one line and
// returns 0 where the check passed, else 1; 2 for wrong arguments.
//   http [--method M] [--status N]... [--body TEXT] [--insecure-tls] [--timeout-ms N] -- URL
//     with headers as lines "Name: value" on the standard input
//   tcp [--timeout-ms N] -- HOST PORT
int run_probe(const std::vector<std::string>& arguments);

}  // namespace flurry::agent
