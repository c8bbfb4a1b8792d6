#include "agent/housekeeping.h"

#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <optional>
#include <set>
#include <system_error>
#include <vector>

#include "agent/log.h"

namespace flurry::agent {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::hours kStale{24};
constexpr std::string_view kIncoming = "-incoming";
constexpr size_t kSha256Hex = 64;

std::vector<fs::path> entries(const std::string& directory) {
  std::vector<fs::path> out;
  std::error_code error;
  for (fs::directory_iterator it(directory, error), end; !error && it != end; it.increment(error))
    out.push_back(it->path());
  return out;
}

bool is_stale(const fs::path& path, std::chrono::system_clock::time_point now) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return false;
  return now - std::chrono::system_clock::from_time_t(info.st_mtim.tv_sec) >= kStale;
}

bool is_build(const std::string& name) {
  return name.size() == kSha256Hex && name.find_first_not_of("0123456789abcdef") == std::string::npos;
}

// Whose root it is, where it is one of ours: all are "<deployment>-<what for>".
std::optional<DeploymentId> owner(const fs::path& root) {
  const std::string name = root.filename().string();
  const size_t dash = name.find('-');
  if (dash == std::string::npos) return std::nullopt;
  if (auto id = DeploymentId::parse(name.substr(0, dash))) return *std::move(id);
  return std::nullopt;
}

bool is_incoming(const fs::path& root) { return root.filename().string().ends_with(kIncoming); }

// The directories of the programs that run now.
std::set<fs::path> running_programs() {
  std::set<fs::path> out;
  for (const auto& process : entries("/proc")) {
    std::error_code error;
    const auto program = fs::read_symlink(process / "exe", error);
    if (!error) out.insert(program.parent_path());
  }
  return out;
}

}  // namespace

void forget_stale_incoming(const Paths& paths, std::chrono::system_clock::time_point now) {
  const auto links = entries(paths.gc_roots());
  std::set<DeploymentId> active;
  for (const auto& link : links)
    if (const auto id = owner(link); id && !is_incoming(link)) active.insert(*id);
  for (const auto& link : links) {
    const auto id = owner(link);
    if (id && is_incoming(link) && is_stale(link, now) && !active.contains(*id)) ::unlink(link.c_str());
  }
}

void forget_ended_roots(const Paths& paths, Journal& journal) {
  for (const auto& link : entries(paths.gc_roots())) {
    const auto id = owner(link);
    if (!id) continue;
    const auto entry = journal.find(*id);
    if (entry && *entry && (*entry)->record.phase == Phase::kEnded) ::unlink(link.c_str());
  }
}

void forget_old_agents(const Paths& paths, const std::string& program,
                       std::chrono::system_clock::time_point now) {
  auto used = running_programs();
  used.insert(fs::path(program).parent_path());
  for (const auto& directory : entries(paths.agents())) {
    if (!is_build(directory.filename().string()) || used.contains(directory) || !is_stale(directory, now))
      continue;
    std::error_code error;
    fs::remove_all(directory, error);
    if (error) log_warning("remove the old agent " + directory.string() + ": " + error.message());
  }
}

}  // namespace flurry::agent
