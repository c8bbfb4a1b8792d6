#include "agent/import_lanes.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "core/sys/clock.h"
#include "core/transfer/frame.h"
#include "core/transfer/messages.h"
#include "core/transfer/stream_mark.h"

namespace flurry::agent {
namespace {

constexpr Millis kHandOver{10'000};
constexpr size_t kAddressMax = 64;
constexpr std::string_view kPrefix = "import-";
// A frame and what is read together with its end.
constexpr size_t kInputMax = transfer::kFrameHeaderSize + transfer::kFramePayloadMax + (64 << 10);

bool is_same_user(int fd) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == ::geteuid();
}

Result<sockaddr_un> address_of(const std::string& file) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (file.size() >= sizeof address.sun_path)
    return Error{ErrorKind::kFailed, file + " is too long for a socket"};
  std::copy(file.begin(), file.end(), address.sun_path);
  return address;
}

Result<void> must_be_private(const std::string& directory) {
  struct stat status {};
  if (::lstat(directory.c_str(), &status) != 0) return sys::errno_error("look at " + directory, errno);
  if (S_ISDIR(status.st_mode) && status.st_uid == ::geteuid() && (status.st_mode & 077) == 0) return {};
  return Error{ErrorKind::kRefused, directory + " is open to other users"};
}

// 0, or an errno value.
int try_connect(int fd, const sockaddr_un& address) {
  return ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
}

// Sockets that nobody listens on any more.
void remove_left_ones(const std::string& directory) {
  std::error_code error;
  std::vector<std::string> files;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end;
       it.increment(error))
    if (it->path().filename().string().starts_with(kPrefix)) files.push_back(it->path().string());
  for (const auto& file : files) {
    const auto address = address_of(file);
    const sys::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (address && try_connect(fd.get(), *address) == ECONNREFUSED) ::unlink(file.c_str());
  }
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

Result<ImportLanes> ImportLanes::listen(const std::string& directory) {
  RETURN_IF_ERROR(must_be_private(directory));
  remove_left_ones(directory);
  sys::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.is_open()) return sys::errno_error("socket", errno);
  // Another thread of this process may have one too.
  const std::string name = std::string(kPrefix) + std::to_string(::getpid()) + "-" + std::to_string(fd.get());
  // Under its name only when it listens: until then another import would take it for one that was left.
  const std::string unready = directory + "/." + name;
  ASSIGN_OR_RETURN(const sockaddr_un address, address_of(unready));
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return sys::errno_error("bind " + unready, errno);
  ImportLanes lanes(std::move(fd), unready, name);
  if (::listen(lanes.listener_.get(), transfer::kLanesMax) != 0)
    return sys::errno_error("listen on " + unready, errno);
  const std::string file = directory + "/" + name;
  if (::rename(unready.c_str(), file.c_str()) != 0) return sys::errno_error("rename " + unready, errno);
  lanes.file_ = file;
  return lanes;
}

ImportLanes::ImportLanes(ImportLanes&& other) noexcept
    : listener_(std::move(other.listener_)),
      file_(std::exchange(other.file_, {})),
      address_(std::move(other.address_)),
      lanes_(std::move(other.lanes_)) {}

ImportLanes::~ImportLanes() {
  if (!file_.empty()) ::unlink(file_.c_str());
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

Result<void> run_import_lane(const std::string& directory, const std::string& address, uint8_t number,
                             int in_fd, int out_fd) {
  if (!address.starts_with(kPrefix) || address.size() > kAddressMax || address.find('/') != std::string::npos)
    return Error{ErrorKind::kInvalidInput, "no such address"};
  RETURN_IF_ERROR(must_be_private(directory));
  ASSIGN_OR_RETURN(const sockaddr_un name, address_of(directory + "/" + address));
  sys::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.is_open()) return sys::errno_error("socket", errno);
  if (const int error = try_connect(fd.get(), name); error != 0)
    return sys::errno_error("connect to the import", error);
  if (!is_same_user(fd.get())) return Error{ErrorKind::kRefused, "the import is another user's"};
  RETURN_IF_ERROR(send_fd(fd.get(), number, in_fd));
  RETURN_IF_ERROR(sys::write_all(out_fd, transfer::kStreamMark, sys::now() + kHandOver));
  // No deadline of its own: the import keeps one, and its death ends this as well.
  char byte = 0;
  while (::recv(fd.get(), &byte, 1, 0) < 0 && errno == EINTR) {
  }
  return {};
}

}  // namespace flurry::agent
