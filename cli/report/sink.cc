#include "cli/report/sink.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

namespace flurry {

void FdSink::write(std::string_view text) {
  while (!text.empty() && error_number_ == 0) {
    const ssize_t written = ::write(fd_, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (errno == EAGAIN) {
      // Someone made our terminal non-blocking; a moment later there is room.
      pollfd ready{fd_, POLLOUT, 0};
      if (::poll(&ready, 1, 1000) == 0) return;
    } else if (errno != EINTR) {
      error_number_ = errno;
    }
  }
}

}  // namespace flurry
