#include "agent/switch_lock.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <optional>
#include <system_error>

#include "agent/log.h"
#include "core/sys/fd.h"

namespace flurry::agent {
namespace {

namespace fs = std::filesystem;

// Who started the process, whatever it may do: a set-user-id program inherits its caller's files.
std::optional<uid_t> real_user(const fs::path& process) {
  std::ifstream status(process / "status");
  for (std::string line; std::getline(status, line);)
    if (unsigned uid = 0; std::sscanf(line.c_str(), "Uid: %u", &uid) == 1) return uid;
  return std::nullopt;
}

bool has_open(const fs::path& process, const struct stat& file) {
  std::error_code error;
  for (fs::directory_iterator it(process / "fd", error), end; !error && it != end; it.increment(error)) {
    struct stat info {};
    if (::stat(it->path().c_str(), &info) == 0 && info.st_dev == file.st_dev && info.st_ino == file.st_ino)
      return true;
  }
  return false;
}

// A switch that we or an administrator started; our own look at it does not count.
bool is_open_in_a_process_of_ours(const struct stat& file) {
  const std::string self = std::to_string(::getpid());
  std::error_code error;
  for (fs::directory_iterator it("/proc", error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (name == self || name.find_first_not_of("0123456789") != std::string::npos) continue;
    if (real_user(it->path()) == ::getuid() && has_open(it->path(), file)) return true;
  }
  return false;
}

Result<void> replace(const std::string& path) {
  const std::string fresh = path + ".flurry";
  ::unlink(fresh.c_str());
  const sys::Fd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.is_open()) return sys::errno_error("create " + fresh, errno);
  if (::rename(fresh.c_str(), path.c_str()) != 0) return sys::errno_error("rename " + fresh, errno);
  return {};
}

}  // namespace

Result<void> guard_switch_lock(const std::string& path) {
  const std::string directory = fs::path(path).parent_path().string();
  if (::mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST)
    return sys::errno_error("create " + directory, errno);
  const sys::Fd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.is_open()) return sys::errno_error("open " + path, errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return sys::errno_error("look at " + path, errno);
  if ((info.st_mode & 077) != 0 && ::fchmod(fd.get(), 0600) != 0)
    return sys::errno_error("chmod " + path, errno);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0 || is_open_in_a_process_of_ours(info)) return {};
  log_warning("another user held the lock " + path + ": it is replaced");
  return replace(path);
}

}  // namespace flurry::agent
