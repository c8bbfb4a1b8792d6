#include "agent/file_lock.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <cstdlib>

#include "agent/file_io.h"

namespace flurry::agent {
namespace {

sys::Fd open_lock(const std::string& path, int flags) {
  return sys::Fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600));
}

}  // namespace

Result<std::optional<FileLock>> FileLock::try_take(const std::string& path) {
  sys::Fd fd = open_lock(path, O_CREAT);
  if (!fd.is_open()) return sys::errno_error("open " + path, errno);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno == EWOULDBLOCK) return std::optional<FileLock>();
    return sys::errno_error("lock " + path, errno);
  }
  FileLock lock(std::move(fd));
  lock.write_holder();
  return std::optional(std::move(lock));
}

Result<FileLock> FileLock::take(const std::string& path) {
  sys::Fd fd = open_lock(path, O_CREAT);
  if (!fd.is_open()) return sys::errno_error("open " + path, errno);
  while (::flock(fd.get(), LOCK_EX) != 0)
    if (errno != EINTR) return sys::errno_error("lock " + path, errno);
  FileLock lock(std::move(fd));
  lock.write_holder();
  return lock;
}

Result<bool> FileLock::is_held(const std::string& path) {
  const sys::Fd fd = open_lock(path, 0);
  if (!fd.is_open() && errno == ENOENT) return false;
  if (!fd.is_open()) return sys::errno_error("open " + path, errno);
  if (::flock(fd.get(), LOCK_SH | LOCK_NB) == 0) return false;
  if (errno == EWOULDBLOCK) return true;
  return sys::errno_error("lock " + path, errno);
}

std::optional<int> FileLock::holder(const std::string& path) {
  const auto text = read_file(path, 64);
  if (!text) return std::nullopt;
  const int pid = std::atoi(text->c_str());
  if (pid <= 1) return std::nullopt;
  return pid;
}

// A disk in memory may be full; the lock holds without it.
void FileLock::write_holder() {
  const std::string text = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd_.get(), 0) != 0) return;
  [[maybe_unused]] const ssize_t n = ::pwrite(fd_.get(), text.data(), text.size(), 0);
}

}  // namespace flurry::agent
