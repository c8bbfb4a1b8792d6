#include "cli/signals.h"

#include <utility>

namespace flurry {

SignalWatcher::SignalWatcher(std::function<void()> on_signal) {
  sigemptyset(&set_);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set_, signal);
  pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  thread_ = std::jthread([this, on_signal = std::move(on_signal)](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      if (sigwaitinfo(&set_, nullptr) > 0 && !stop.stop_requested()) on_signal();
    }
  });
}

SignalWatcher::~SignalWatcher() {
  thread_.request_stop();
  pthread_kill(thread_.native_handle(), SIGTERM);  // ends its wait; blocked, so nothing else sees it
}

}  // namespace flurry
