#include "agent/file_lock.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdlib>

#include "agent/file_io.h"

namespace flurry::agent {
namespace {

sys::Fd open_lock(const std::string& path, int flags) {
  return sys::Fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0600));
}

// Of the open file and not of the process: it ends with the last descriptor, and other opens of the same
// file by the same process don't end it. Unlike flock(2)'s it can be asked for without being taken.
struct flock whole_file() {
  struct flock lock {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return lock;
}

}  // namespace

Result<std::optional<FileLock>> FileLock::try_take(const std::string& path) {
  sys::Fd fd = open_lock(path, O_CREAT);
  if (!fd.is_open()) return sys::errno_error("open " + path, errno);
  struct flock wanted = whole_file();
  if (::fcntl(fd.get(), F_OFD_SETLK, &wanted) != 0) {
    if (errno == EAGAIN || errno == EACCES) return std::optional<FileLock>();
    return sys::errno_error("lock " + path, errno);
  }
  FileLock lock(std::move(fd));
  lock.write_holder();
  return std::optional(std::move(lock));
}

Result<FileLock> FileLock::take(const std::string& path) {
  sys::Fd fd = open_lock(path, O_CREAT);
  if (!fd.is_open()) return sys::errno_error("open " + path, errno);
  struct flock wanted = whole_file();
  while (::fcntl(fd.get(), F_OFD_SETLKW, &wanted) != 0)
    if (errno != EINTR) return sys::errno_error("lock " + path, errno);
  FileLock lock(std::move(fd));
  lock.write_holder();
  return lock;
}

Result<bool> FileLock::is_held(const std::string& path) {
  const sys::Fd fd = open_lock(path, 0);
  if (!fd.is_open() && errno == ENOENT) return false;
  if (!fd.is_open()) return sys::errno_error("open " + path, errno);
  struct flock in_the_way = whole_file();
  if (::fcntl(fd.get(), F_OFD_GETLK, &in_the_way) != 0)
    return sys::errno_error("look at lock " + path, errno);
  return in_the_way.l_type != F_UNLCK;
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
