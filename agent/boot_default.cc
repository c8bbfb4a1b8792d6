#include "agent/boot_default.h"

#include <unistd.h>

#include <algorithm>
#include <string_view>

#include "agent/file_io.h"

namespace flurry::agent {
namespace {

constexpr size_t kFileMax = 64 << 10;
// systemd's vendor id stands in the name of each of its EFI variables.
constexpr const char* kChosenEntry =
    "/sys/firmware/efi/efivars/LoaderEntryDefault-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f";

// The value of the first line "KEY value"; empty where there is none.
std::string value_of(std::string_view text, std::string_view key) {
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.starts_with(key)) continue;
    line.remove_prefix(key.size());
    if (!line.starts_with(' ') && !line.starts_with('\t')) continue;
    const size_t begin = line.find_first_not_of(" \t");
    const size_t last = line.find_last_not_of(" \t\r");
    return begin == std::string_view::npos ? "" : std::string(line.substr(begin, last + 1 - begin));
  }
  return "";
}

// "/nix/store/…-nixos-system-…" of "init=/nix/store/…-nixos-system-…/init loglevel=4"
std::optional<StorePath> system_of(std::string_view options) {
  constexpr std::string_view kInit = "init=";
  for (size_t at = options.find(kInit); at != std::string_view::npos; at = options.find(kInit, at + 1)) {
    if (at > 0 && options[at - 1] != ' ' && options[at - 1] != '\t') continue;
    std::string_view path = options.substr(at + kInit.size());
    path = path.substr(0, path.find_first_of(" \t"));
    if (!path.ends_with("/init")) return std::nullopt;
    auto system = StorePath::parse(path.substr(0, path.size() - 5));
    if (!system) return std::nullopt;
    return *std::move(system);
  }
  return std::nullopt;
}

}  // namespace

std::optional<StorePath> read_boot_default(const std::string& root) {
  if (::access((root + kChosenEntry).c_str(), F_OK) == 0) return std::nullopt;
  for (const char* partition : {"/boot", "/efi", "/boot/efi"}) {
    const std::string loader = root + partition + "/loader";
    const auto config = read_file(loader + "/loader.conf", kFileMax);
    if (!config) continue;
    const std::string entry = value_of(*config, "default");
    const bool is_file_name = entry.ends_with(".conf") && entry.find_first_of("/*?[@") == std::string::npos;
    if (!is_file_name) return std::nullopt;
    const auto text = read_file(loader + "/entries/" + entry, kFileMax);
    if (!text) return std::nullopt;
    return system_of(value_of(*text, "options"));
  }
  return std::nullopt;
}

}  // namespace flurry::agent
