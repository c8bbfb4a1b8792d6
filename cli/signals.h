#pragma once

#include <csignal>
#include <functional>
#include <thread>

namespace flurry {

// Turns SIGINT, SIGTERM and SIGHUP into calls of `on_signal` on a thread of its own. Make it before any
// other thread: it blocks these signals for the whole process, children excepted.
class SignalWatcher {
 public:
  explicit SignalWatcher(std::function<void()> on_signal);
  ~SignalWatcher();

 private:
  sigset_t set_;
  std::jthread thread_;
};

}  // namespace flurry
