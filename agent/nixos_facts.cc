#include <sys/stat.h>
#include <sys/utsname.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <system_error>

#include "agent/file_io.h"
#include "agent/nixos_system.h"
#include "agent/tools.h"
#include "agent/unit_list.h"

namespace flurry::agent {
namespace {

namespace fs = std::filesystem;

constexpr Millis kSystemctlTimeout{20'000};

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

// Whether it is a user who decides if such a unit fails: one kill of their own manager is enough, and must
// not take a deployment back.
bool is_a_users(std::string_view unit) {
  const bool is_session = unit.starts_with("session-") && unit.ends_with(".scope");
  return unit.starts_with("user@") || unit.starts_with("user-runtime-dir@") || is_session;
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

Result<std::vector<std::string>> read_failed_units() {
  ASSIGN_OR_RETURN(const auto text,
                   run_tool_checked({"systemctl", "list-units", "--all", "--state=failed,auto-restart",
                                     "--plain", "--no-legend", "--no-pager", "--full"},
                                    kSystemctlTimeout));
  std::vector<std::string> out;
  for (auto& unit : parse_unit_list(text)) {
    if (is_a_users(unit.name)) continue;
    if (unit.state == "auto-restart") {
      const auto status =
          run_tool({"systemctl", "show", "--property=Result", "--value", "--", unit.name}, kSystemctlTimeout);
      if (status && status->standard_output == "success\n") continue;
    }
    out.push_back(std::move(unit.name));
  }
  std::sort(out.begin(), out.end());
  return out;
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
