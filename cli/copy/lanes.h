#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "cli/transport.h"
#include "core/sys/bounded_queue.h"
#include "core/transfer/messages.h"

namespace flurry::copy {

// The command line that runs a verb of the agent on the host.
using AgentCommand = std::function<std::string(const std::string& verb_and_words)>;

// Opens more channels to an import, on threads of its own, while the copy goes on over the first. A channel
// that the host refuses is done without. Every method on one thread; the end of it waits for those that are
// just being opened.
class Lanes {
 public:
  struct Ready {
    uint8_t number;
    int fd;  // stays open for as long as this object lives
  };

  // The connection must outlive it. `address`: as the import told.
  Lanes(Connection& connection, const AgentCommand& command, const std::string& address, uint8_t count);

  // Those that the import can read from since the last call. Does not wait.
  std::vector<Ready> take_ready();

 private:
  struct Opened {
    uint8_t number;
    std::unique_ptr<RemoteProcess> process;
  };

  sys::BoundedQueue<Opened> opened_{transfer::kLanesMax};
  std::vector<std::unique_ptr<RemoteProcess>> processes_;
  std::vector<std::jthread> threads_;  // last: they use the rest
};

}  // namespace flurry::copy
