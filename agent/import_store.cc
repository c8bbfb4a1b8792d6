#include "agent/import_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "core/sys/fd.h"

namespace flurry::agent {
namespace {

Result<void> make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0755) != 0 && errno != EEXIST) return sys::errno_error("create " + path, errno);
  return {};
}

}  // namespace

Result<uint64_t> free_bytes(const std::string& store_dir) {
  std::string path = store_dir;
  struct statvfs status {};
  while (::statvfs(path.c_str(), &status) != 0) {
    const size_t slash = path.rfind('/');
    if (errno != ENOENT || slash == std::string::npos)
      return sys::errno_error("free space of " + path, errno);
    path = slash == 0 ? "/" : path.substr(0, slash);
  }
  return static_cast<uint64_t>(status.f_bavail) * status.f_frsize;
}

Result<void> hold_closure(const std::string& state_dir, const DeploymentId& deployment,
                          const StorePath& top) {
  const std::string roots = state_dir + "/gcroots";
  const std::string directory = roots + "/flurry";
  RETURN_IF_ERROR(make_directory(roots));
  RETURN_IF_ERROR(make_directory(directory));
  const std::string link =
      directory + "/" + deployment.str() + "-" + std::string(top.hash_part()) + "-incoming";
  const std::string fresh = link + ".tmp" + std::to_string(::getpid());
  ::unlink(fresh.c_str());
  if (::symlink(top.str().c_str(), fresh.c_str()) != 0) return sys::errno_error("create " + fresh, errno);
  if (::rename(fresh.c_str(), link.c_str()) == 0) return {};
  const Error error = sys::errno_error("create " + link, errno);
  ::unlink(fresh.c_str());
  return error;
}

Result<void> sync_store(const std::string& store_dir) {
  const sys::Fd fd(::open(store_dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.is_open()) return sys::errno_error("open " + store_dir, errno);
  if (::syncfs(fd.get()) != 0) return sys::errno_error("sync " + store_dir, errno);
  return {};
}

}  // namespace flurry::agent
