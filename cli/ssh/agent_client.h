#pragma once

#include <string>
#include <vector>

#include "core/result.h"
#include "core/sys/fd.h"
#include "core/time.h"

namespace flurry::ssh {

struct AgentKey {
  std::string blob;
  std::string comment;
};

// A conversation with an ssh agent over its Unix socket. libssh2's own agent calls block without a
// bound, so this speaks the protocol itself, in the thread of the caller who waits for the dial.
// Every call keeps its deadline; a strange answer is an error.
class AgentClient {
 public:
  static Result<AgentClient> connect(const std::string& socket_path);

  Result<std::vector<AgentKey>> keys(TimePoint deadline);

  // The bare signature over `data` by the key, without the name of its algorithm.
  Result<std::string> sign(const std::string& key_blob, const std::string& data, TimePoint deadline);

 private:
  explicit AgentClient(sys::Fd fd) : fd_(std::move(fd)) {}
  Result<std::string> ask(const std::string& request, char expected_type, TimePoint deadline);
  Result<std::string> read_exactly(size_t size, TimePoint deadline);

  sys::Fd fd_;
};

}  // namespace flurry::ssh
