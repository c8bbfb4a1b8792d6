#include "cli/signals.h"

namespace flurry {

SignalWatcher::SignalWatcher(std::function<void()> on_signal) {
  sigemptyset(&set_);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaddset(&set_, signal);
  pthread_sigmask(SIG_BLOCK, &set_, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
  thread_ = std::jthread([this, on_signal = std::move(on_signal)](const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      const timespec wait{0, 200'000'000};
      if (sigtimedwait(&set_, nullptr, &wait) > 0) on_signal();
    }
  });
}

SignalWatcher::~SignalWatcher() = default;

}  // namespace flurry
