#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/names.h"
#include "core/result.h"
#include "core/sys/fd.h"
#include "core/time.h"

namespace flurry {

// What one run has seen of a host's keys where no file vouches for them: such a key holds for the rest of the
// run. Belongs to one host; one dial at a time uses it.
struct SeenHostKeys {
  std::map<std::string, std::string> blobs;  // by the name that known_hosts would have
  std::vector<std::string> warnings;         // for the user, each once; the caller takes them
};

// Where a host is, as the flake says it. What is absent is asked of the user's ssh configuration.
struct Target {
  HostName host;
  std::vector<std::string> addresses;  // tried in order; never empty
  std::optional<uint16_t> port;
  std::optional<std::string> user;
  std::optional<std::string> identity_file;
  std::vector<std::string> ssh_options;  // as after "ssh": {"-o", "ProxyJump=bastion"}
  // A host decides by itself unless this dial comes in time: it never queues behind those that don't hurry.
  bool is_urgent = false;
  SeenHostKeys* seen = nullptr;  // null: nothing is kept
};

struct RemoteExit {
  int exit_code = -1;          // -1 when ended by a signal or when the connection died
  std::string signal;          // "KILL", or empty
  std::string standard_error;  // the last 64 KiB
};

// A command that runs on the host. Destroying it closes its channel.
class RemoteProcess {
 public:
  virtual ~RemoteProcess() = default;

  // One end of a local stream socket: what is written goes to the command's stdin, what it prints on
  // stdout can be read. shutdown(SHUT_WR) is end of file for it; end of file on reading means that its
  // stdout was closed or the connection died (wait() tells). The caller may take the descriptor.
  virtual sys::Fd& io() = 0;

  // Waits for the end of the command. kUnreachable when the connection died before it was known.
  virtual Result<RemoteExit> wait(TimePoint deadline) = 0;
};

// One authenticated connection (one TCP connection, one SSH session). Destroying it closes it.
class Connection {
 public:
  virtual ~Connection() = default;

  // Starts `command` by the remote user's shell. Returns when the server accepted it.
  virtual Result<std::unique_ptr<RemoteProcess>> exec(const std::string& command, TimePoint deadline) = 0;

  // "root@203.0.113.10:22", for messages.
  virtual std::string peer() const = 0;
};

// Dials hosts. Any thread may call any method of it and of what it returns; a call blocks at most
// until its deadline, which is about the host: time in a queue behind other dials doesn't count.
// Errors: kUnreachable (name, TCP, dead link), kRefused (host key, login; the message says what to do),
// kTimedOut.
class Transport {
 public:
  virtual ~Transport() = default;

  // Always a new TCP connection and a new SSH session, never a shared or cached one: that is what
  // makes a confirmation worth something.
  virtual Result<std::unique_ptr<Connection>> dial(const Target& target, TimePoint deadline) = 0;
};

}  // namespace flurry
