#pragma once

#include <memory>
#include <string>

#include "cli/ssh/ssh_config.h"
#include "cli/transport.h"

namespace flurry::ssh {

// The same by the ssh program, for what libssh2 can't do. A connection is a ControlMaster of its own
// in a private directory (never the user's, so it is always a new one); a command is a client of it.
// It ends with our end of its stdin, so none is left behind by a crash. Never prompts. A remote
// command that ended by a signal reads as exit code 255. Stateless; any thread.
class ProgramTransport : public Transport {
 public:
  explicit ProgramTransport(SshProgram program) : program_(std::move(program)) {}

  Result<std::unique_ptr<Connection>> dial(const Target& target, TimePoint deadline) override;

  // With the configuration already asked for.
  Result<std::unique_ptr<Connection>> dial_address(const Target& target, const SshConfig& config,
                                                   const std::string& address, TimePoint deadline);

 private:
  const SshProgram program_;
};

// What the ssh program's words mean for the caller: kRefused (host key, login), kUnreachable.
Error program_error(const std::string& standard_error);

}  // namespace flurry::ssh
