#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "cli/ssh/algorithms.h"
#include "cli/transport.h"

namespace flurry::ssh {

enum class StrictChecking { kYes, kAsk, kAcceptNew, kNo };

// What OpenSSH would do for one address of a target.
struct SshConfig {
  std::string hostname;
  uint16_t port = 22;
  std::string user;
  std::vector<std::string> identity_files;  // expanded; only those that exist
  std::string agent_socket;                 // empty: no agent
  bool identities_only = false;
  std::vector<std::string> user_known_hosts;
  std::vector<std::string> global_known_hosts;
  bool has_all_known_hosts = true;  // false: some of them have names that only ssh can read
  StrictChecking strict = StrictChecking::kAsk;
  std::string host_key_alias;
  bool hash_known_hosts = false;
  int connect_timeout_s = 0;             // 0: none
  int address_family = 0;                // as for getaddrinfo
  Algorithms algorithms;                 // those that the user allows, of ours
  std::string accepted_keys{kHostKeys};  // types of keys to log in with, likewise
  // What only the ssh program does: lines as `ssh -G` prints them ("forwardagent yes"), certificates beside a
  // key. Empty: libssh2 does all that ssh would do.
  std::vector<std::string> program_only;
  std::string jump;  // what stands between, as configured: dials by the same share a server
};

// The program and arguments before "-G" or the host: "ssh", {"-F", "/path"} (tests).
struct SshProgram {
  std::string name = "ssh";
  std::vector<std::string> arguments;
};

// "ssh … first… [-p port] [-l user] [-i file] [options]"; the caller appends "--", the address and a command.
// `first`: options of ours; ssh takes the first value of each, so the target's and the configuration's don't
// change them. kInvalidInput where the target has options that can't be used.
Result<std::vector<std::string>> ssh_argv(const SshProgram& program, const Target& target,
                                          const std::vector<std::string>& first);

// Parses the output of "ssh -G". `home`: the home of who runs us; `agent_variable`: SSH_AUTH_SOCK;
// `address` is what was given to ssh. Reads the disk only to see which identity files exist.
Result<SshConfig> parse_ssh_config(std::string_view text, const std::string& address, const std::string& home,
                                   const std::string& agent_variable);

// Asks the ssh program. kUnsupported when there is none, kInvalidInput when it refuses. Any thread.
Result<SshConfig> ask_ssh_config(const SshProgram& program, const Target& target, const std::string& address,
                                 TimePoint deadline);

}  // namespace flurry::ssh
