#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/result.h"
#include "core/sys/fd.h"

namespace flurry::agent {

// Listens on a Unix socket and hands on what connects, never more than `max` connections at a time: the
// oldest is ended for a new one, since whoever still needs it dials again, and whoever holds many in
// silence can't keep the others out or use up the process's descriptors. A connection by another user than
// ours is ended at once. One thread of its own, from start() to its destruction.
class Acceptor {
 public:
  struct Handlers {
    // Gets a non-blocking connection and owns it.
    std::function<void(sys::Fd)> connected;
    // After every change; the last call may be late by as long as it takes to notice an end.
    std::function<void(size_t)> count;
  };

  // Replaces a socket that is there. Mode 0600.
  static Result<std::unique_ptr<Acceptor>> start(const std::string& path, size_t max, Handlers handlers);
  ~Acceptor();

 private:
  Acceptor(sys::Fd listener, sys::Fd stop_end, sys::Fd loop_end, size_t max, Handlers handlers);
  void run();
  void accept_one();
  void forget_ended();

  const sys::Fd listener_;
  sys::Fd stop_end_;
  const sys::Fd loop_end_;  // readable: the end
  const size_t max_;
  const Handlers handlers_;
  std::vector<sys::Fd> open_;  // our own descriptors of them, oldest first
  std::jthread thread_;
};

}  // namespace flurry::agent
