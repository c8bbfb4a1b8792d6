#pragma once

#include <gtest/gtest.h>
#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "cli/ssh/libssh_transport.h"

namespace flurry::ssh {

// A real sshd on a random loopback port, with keys, known hosts and configuration of its own in a
// temporary directory. The user's home, agent and ssh configuration play no part. Skips without sshd.
class SshdTest : public testing::Test {
 protected:
  void SetUp() override;
  void TearDown() override;

  // Text of the client's ssh_config; the default knows the host key and the login key.
  void configure(const std::string& lines);
  std::string strict_lines() const;
  Target target(std::vector<std::string> options = {}) const;
  LibsshTransport& transport(size_t handshakes_max = 32);
  Result<std::unique_ptr<Connection>> dial(Millis patience = Millis(20000));
  std::unique_ptr<Connection> must_dial();

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  static std::string run(const std::vector<std::string>& argv);
  static void write(const std::string& file, const std::string& text, int mode = 0600);
  static std::string read(const std::string& file);
  static TimePoint in(Millis time);

  // Those that are sshd's own programs.
  static std::vector<pid_t> children_of(pid_t parent);
  // How many sshd serves.
  size_t connections() const;
  // The processes of sshd that serve them: one each, two since OpenSSH 9.8.
  std::vector<pid_t> session_pids() const;

  // The folder that they are copied from.
  static const std::string& keys();

  std::string directory_;
  int port_ = 0;
  pid_t sshd_ = -1;
  std::unique_ptr<LibsshTransport> transport_;
};

}  // namespace flurry::ssh
