#include "agent/host.h"

#include <fcntl.h>

#include "agent/nixos_system.h"

namespace flurry::agent {
namespace {

// The directory itself, for the rest of the process's life: a file system that is mounted over its path, or
// taken from it, changes nothing for who has it open.
std::string kept_open(const std::string& directory) {
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return fd < 0 ? directory : "/proc/self/fd/" + std::to_string(fd);
}

}  // namespace

Host make_nixos_host(const Paths& paths, const std::string& program, bool is_deadman) {
  return {std::make_unique<NixosSystem>(paths, program, is_deadman),
          std::make_unique<FileJournal>(is_deadman ? kept_open(paths.journals()) : paths.journals())};
}

}  // namespace flurry::agent
