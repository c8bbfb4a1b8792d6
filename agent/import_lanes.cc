#include "agent/import_lanes.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/sys/clock.h"
#include "core/transfer/frame.h"
#include "core/transfer/messages.h"

namespace flurry::agent {
namespace {

constexpr Millis kHandOver{10'000};
constexpr size_t kAddressMax = 64;
// A frame and what is read together with its end.
constexpr size_t kInputMax = transfer::kFrameHeaderSize + transfer::kFramePayloadMax + (64 << 10);

bool is_same_user(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == ::geteuid();
}

// In the abstract namespace, which needs no clearing up.
socklen_t fill(sockaddr_un& address, const std::string& name) {
  address.sun_family = AF_UNIX;
  std::copy(name.begin(), name.end(), address.sun_path + 1);
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

Result<void> wait_readable(int fd, TimePoint deadline) {
  for (;;) {
    const auto left = std::clamp<long long>((deadline - sys::now()).count(), 0, INT32_MAX);
    pollfd p{fd, POLLIN, 0};
    const int n = ::poll(&p, 1, static_cast<int>(left));
    if (n > 0) return {};
    if (n == 0) return Error{ErrorKind::kTimedOut, "a lane of the copy did not come before the deadline"};
    if (errno != EINTR) return sys::errno_error("poll", errno);
  }
}

// One byte, and a descriptor with it.
union HandOver {
  char control[CMSG_SPACE(sizeof(int))];
  cmsghdr align;
};

Result<void> send_fd(int socket, uint8_t number, int fd) {
  HandOver space{};
  iovec text{&number, 1};
  msghdr message{};
  message.msg_iov = &text;
  message.msg_iovlen = 1;
  message.msg_control = space.control;
  message.msg_controllen = sizeof space.control;
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof fd);
  std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  if (::sendmsg(socket, &message, MSG_NOSIGNAL) != 1) return sys::errno_error("hand over a lane", errno);
  return {};
}

Result<sys::Fd> receive_fd(int socket, uint8_t& number) {
  HandOver space{};
  iovec text{&number, 1};
  msghdr message{};
  message.msg_iov = &text;
  message.msg_iovlen = 1;
  message.msg_control = space.control;
  message.msg_controllen = sizeof space.control;
  const ssize_t n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
  if (n < 0) return sys::errno_error("take a lane", errno);
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (n != 1 || header == nullptr || header->cmsg_type != SCM_RIGHTS ||
      header->cmsg_len != CMSG_LEN(sizeof(int)))
    return Error{ErrorKind::kInvalidInput, "a lane of the copy came without its bytes"};
  int fd = -1;
  std::memcpy(&fd, CMSG_DATA(header), sizeof fd);
  return sys::Fd(fd);
}

}  // namespace

Result<ImportLanes> ImportLanes::listen() {
  sys::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.is_open()) return sys::errno_error("socket", errno);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // The kernel chooses a name (unix(7), autobind).
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address.sun_family) != 0)
    return sys::errno_error("bind", errno);
  socklen_t size = sizeof address;
  if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0)
    return sys::errno_error("getsockname", errno);
  if (::listen(fd.get(), transfer::kLanesMax) != 0) return sys::errno_error("listen", errno);
  const size_t length = size - offsetof(sockaddr_un, sun_path) - 1;
  return ImportLanes(std::move(fd), std::string(address.sun_path + 1, length));
}

Result<sys::Duplex*> ImportLanes::lane(uint8_t number, TimePoint deadline) {
  if (number == 0 || number > transfer::kLanesMax)
    return Error{ErrorKind::kInvalidInput, "there is no lane " + std::to_string(number)};
  for (;;) {
    for (auto& lane : lanes_)
      if (lane.number == number) return lane.bytes.get();
    RETURN_IF_ERROR(accept_one(deadline));
  }
}

Result<void> ImportLanes::accept_one(TimePoint deadline) {
  RETURN_IF_ERROR(wait_readable(listener_.get(), deadline));
  sys::Fd process(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!process.is_open() || !is_same_user(process.get())) return {};
  RETURN_IF_ERROR(wait_readable(process.get(), std::min(deadline, sys::now() + kHandOver)));
  uint8_t number = 0;
  ASSIGN_OR_RETURN(sys::Fd in, receive_fd(process.get(), number));
  const bool is_there =
      std::any_of(lanes_.begin(), lanes_.end(), [&](const Lane& lane) { return lane.number == number; });
  if (is_there || number == 0 || number > transfer::kLanesMax)
    return Error{ErrorKind::kInvalidInput, "a lane of the copy came twice"};
  auto bytes = std::make_unique<sys::Duplex>(in.get(), -1, kInputMax);
  lanes_.push_back({number, std::move(process), std::move(in), std::move(bytes)});
  return {};
}

Result<void> run_import_lane(const std::string& address, uint8_t number, int in_fd, int out_fd) {
  if (address.empty() || address.size() > kAddressMax)
    return Error{ErrorKind::kInvalidInput, "no such address"};
  sys::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un name{};
  const socklen_t size = fill(name, address);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&name), size) != 0)
    return sys::errno_error("connect to the import", errno);
  if (!is_same_user(fd.get())) return Error{ErrorKind::kRefused, "the import is another user's"};
  RETURN_IF_ERROR(send_fd(fd.get(), number, in_fd));
  RETURN_IF_ERROR(sys::write_all(out_fd, "\n", sys::now() + kHandOver));
  // No deadline of its own: the import keeps one, and its death ends this as well.
  char byte = 0;
  while (::recv(fd.get(), &byte, 1, 0) < 0 && errno == EINTR) {
  }
  return {};
}

}  // namespace flurry::agent
