#pragma once

#include <string>

#include "core/result.h"

namespace flurry {

// The agent that this controller brings along: one static binary, known on hosts by its hash.
struct AgentBinary {
  std::string local_path;
  std::string sha256;  // hex
  // "x86_64", as uname -m says it.
  std::string machine;

  // Where a host keeps it: below a directory that only root can enter, so its hash stays true.
  std::string remote_dir() const { return "/var/lib/flurry/agent/" + sha256; }
  std::string remote_path() const { return remote_dir() + "/flurry-agent"; }
};

// Finds flurry-agent: $FLURRY_AGENT, else beside this program, else in ../libexec/flurry. Reads it whole.
Result<AgentBinary> find_agent_binary();

}  // namespace flurry
