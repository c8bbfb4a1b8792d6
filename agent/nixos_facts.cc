#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <filesystem>
#include <sstream>
#include <system_error>

#include "agent/file_io.h"
#include "agent/nixos_system.h"
#include "agent/tools.h"

namespace flurry::agent {
namespace {

namespace fs = std::filesystem;

constexpr size_t kLocksMax = 4 << 20;
constexpr size_t kListMax = 1 << 20;

// What a switch writes down of what it still has to do, and what an activation asks it to do.
constexpr std::array kSwitchLists{"start-list", "restart-list", "reload-list", "activation-restart-list",
                                  "activation-reload-list"};

std::optional<std::string> link_target(const std::string& link) {
  std::error_code error;
  const auto target = fs::read_symlink(link, error);
  if (error) return std::nullopt;
  return target.string();
}

// 42 from "system-42-link" of the profile "system".
std::optional<uint64_t> generation_number(std::string_view profile_name, std::string_view link_name) {
  if (!link_name.starts_with(profile_name)) return std::nullopt;
  link_name.remove_prefix(profile_name.size());
  if (!link_name.starts_with('-') || !link_name.ends_with("-link") || link_name.size() < 7)
    return std::nullopt;
  const std::string_view digits = link_name.substr(1, link_name.size() - 6);
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
  if (error != std::errc() || end != digits.data() + digits.size() || number == 0) return std::nullopt;
  return number;
}

}  // namespace

std::optional<StorePath> store_path_of_link(const std::string& link) {
  const auto target = link_target(link);
  if (!target) return std::nullopt;
  auto path = StorePath::parse(*target);
  if (!path) return std::nullopt;
  return *std::move(path);
}

std::optional<StorePath> wrapped_system(const std::string& root, const StorePath& closure) {
  std::error_code error;
  const fs::path program = fs::canonical(root + closure.str() + "/bin/switch-to-configuration", error);
  if (error) return std::nullopt;
  const fs::path directory = program.parent_path().parent_path();
  const auto inner =
      StorePath::parse(directory.string().substr(std::min(root.size(), directory.string().size())));
  // A link into some package of tools is no wrapper: a system has its version in it.
  if (!inner || *inner == closure || !fs::exists(directory / "nixos-version", error)) return std::nullopt;
  return *inner;
}

ProfileState read_profile(const std::string& root, const std::string& profile_path) {
  const auto target = link_target(root + profile_path);
  if (!target) return {};
  if (auto direct = StorePath::parse(*target)) return {*std::move(direct), std::nullopt};
  const fs::path generation(*target);
  const fs::path link = generation.is_absolute() ? fs::path(root + *target)
                                                 : fs::path(root + profile_path).parent_path() / generation;
  return {store_path_of_link(link.string()),
          generation_number(fs::path(profile_path).filename().string(), generation.filename().string())};
}

std::optional<std::string> real_path(const std::string& root, const std::string& link) {
  std::error_code error;
  const fs::path real = fs::canonical(root + link, error);
  if (error || real.string().size() <= root.size()) return std::nullopt;
  return real.string().substr(root.size());
}

std::vector<std::string> read_leftovers(const Paths& paths) {
  std::vector<std::string> out;
  for (const char* list : kSwitchLists) {
    struct stat info {};
    if (::stat((paths.switch_lists() + "/" + list).c_str(), &info) == 0 && info.st_size > 0)
      out.emplace_back(list);
  }
  return out;
}

Result<void> clear_leftovers(const Paths& paths, const std::set<std::string>& active) {
  for (const auto& list : read_leftovers(paths)) {
    const std::string file = paths.switch_lists() + "/" + list;
    std::string kept;
    if (list != "start-list") {
      ASSIGN_OR_RETURN(const auto text, read_file(file, kListMax));
      std::istringstream lines(text);
      for (std::string unit; std::getline(lines, unit);)
        if (active.contains(unit)) kept += unit + "\n";
    }
    if (!kept.empty()) {
      RETURN_IF_ERROR(write_file_durably(file, kept));
    } else if (::unlink(file.c_str()) != 0 && errno != ENOENT) {
      return sys::errno_error("remove " + file, errno);
    }
  }
  return {};
}

// By the kernel's list of locks: to try the lock would take it from a switch that begins at that moment.
bool is_switch_locked(const Paths& paths) {
  struct stat info {};
  if (::stat(paths.switch_lock().c_str(), &info) != 0) return false;
  const auto locks = read_file("/proc/locks", kLocksMax);
  if (!locks) return false;
  char id[64];
  std::snprintf(id, sizeof id, " %02x:%02x:%llu ", major(info.st_dev), minor(info.st_dev),
                static_cast<unsigned long long>(info.st_ino));
  return locks->find(id) != std::string::npos;
}

Result<std::string> read_boot_id() {
  ASSIGN_OR_RETURN(auto text, read_file("/proc/sys/kernel/random/boot_id", 64));
  while (text.ends_with('\n')) text.pop_back();
  // A soft reboot ends all that ran and leaves the kernel, and its boot id, as they are. systemd counts them
  // from its version 256 on.
  ASSIGN_OR_RETURN(const auto properties, unit_properties("", {"SoftRebootsCount"}));
  const auto count = properties.find("SoftRebootsCount");
  if (count == properties.end() || count->second.empty() || count->second == "0") return text;
  return text + "+" + count->second;
}

bool is_same_kernel(const std::string& a, const std::string& b) {
  return a.substr(0, a.find('+')) == b.substr(0, b.find('+'));
}

std::string host_system() {
  utsname name{};
  ::uname(&name);
  return std::string(name.machine) + "-linux";
}

std::vector<Generation> list_generations(const std::string& root, const std::string& profile_path) {
  const fs::path profile(root + profile_path);
  std::vector<Generation> out;
  std::error_code error;
  for (fs::directory_iterator it(profile.parent_path(), error), end; !error && it != end;
       it.increment(error)) {
    const auto number = generation_number(profile.filename().string(), it->path().filename().string());
    const auto target = link_target(it->path().string());
    struct stat info {};
    if (!number || !target || ::lstat(it->path().c_str(), &info) != 0) continue;
    out.push_back({*number, *target, info.st_mtim.tv_sec * 1000LL + info.st_mtim.tv_nsec / 1000000});
  }
  std::sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a.number < b.number; });
  return out;
}

bool is_reboot_needed(const std::string& booted, const std::string& boot_default) {
  for (const char* part : {"/kernel", "/initrd", "/kernel-modules"})
    if (link_target(booted + part) != link_target(boot_default + part)) return true;
  return false;
}

}  // namespace flurry::agent
