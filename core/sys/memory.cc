#include "core/sys/memory.h"

#include <dirent.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace flurry::sys {
namespace {

// A tree that grows while it is walked, or one that is no tree of ours, has an end.
constexpr size_t kProcessesMax = 4096;
constexpr size_t kUnknown = SIZE_MAX / 4;

std::optional<size_t> read_number(const std::string& path) {
  std::ifstream file(path);
  size_t number = 0;
  if (file >> number) return number;
  return std::nullopt;
}

size_t left_by_the_machine() {
  std::ifstream file("/proc/meminfo");
  for (std::string word; file >> word;)
    if (size_t kib = 0; word == "MemAvailable:" && file >> kib) return kib << 10;
  return kUnknown;
}

// A container's limit, which the machine's figure knows nothing of. "max" is no number, and no limit.
size_t left_by_the_group() {
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with("0::/")) continue;
    size_t left = kUnknown;
    for (std::string group = line.substr(3);;) {
      const std::string folder = "/sys/fs/cgroup" + group + (group.ends_with('/') ? "" : "/");
      const auto limit = read_number(folder + "memory.max");
      const auto used = read_number(folder + "memory.current");
      if (limit && used) left = std::min(left, *limit - std::min(*limit, *used));
      if (group.size() <= 1) return left;
      group.erase(std::max<size_t>(group.rfind('/'), 1));
    }
  }
  return kUnknown;
}

void append_children(pid_t pid, std::vector<pid_t>& out) {
  const std::string tasks = "/proc/" + std::to_string(pid) + "/task";
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(tasks.c_str()), &::closedir);
  if (!folder) return;
  while (const dirent* entry = ::readdir(folder.get())) {
    if (entry->d_name[0] == '.') continue;
    std::ifstream file(tasks + "/" + entry->d_name + "/children");
    for (pid_t child = 0; file >> child;) out.push_back(child);
  }
}

}  // namespace

size_t available_memory() { return std::min(left_by_the_machine(), left_by_the_group()); }

size_t process_tree_memory(pid_t pid) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  std::vector<pid_t> processes{pid};
  size_t bytes = 0;
  for (size_t i = 0; i < processes.size() && i < kProcessesMax; ++i) {
    std::ifstream file("/proc/" + std::to_string(processes[i]) + "/statm");
    size_t whole = 0;
    size_t resident = 0;
    if (file >> whole >> resident) bytes += resident * page;
    append_children(processes[i], processes);
  }
  return bytes;
}

}  // namespace flurry::sys
