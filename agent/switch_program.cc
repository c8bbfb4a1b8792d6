#include "agent/switch_program.h"

#include <set>
#include <string_view>

#include "agent/file_io.h"
#include "agent/nixos_system.h"

namespace flurry::agent {
namespace {

constexpr std::string_view kSentence = "Failed to run activate script";
constexpr std::string_view kStore = "/nix/store/";
constexpr size_t kProgramMax = 64 << 20;
constexpr size_t kProgramsMax = 8;  // a wrapper names few

bool is_path_character(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
         std::string_view("/._+-?=").find(c) != std::string_view::npos;
}

// Programs of that name that a wrapper, a script or a compiled one, refers to.
void add_named(std::string_view text, std::set<std::string>& out) {
  for (size_t at = text.find(kStore); at != std::string_view::npos; at = text.find(kStore, at + 1)) {
    size_t end = at;
    while (end < text.size() && is_path_character(text[end])) ++end;
    const std::string_view path = text.substr(at, end - at);
    if (path.find("/bin/") != std::string_view::npos && path.find("switch-to-configuration") != path.npos &&
        out.size() < kProgramsMax)
      out.emplace(path);
  }
}

}  // namespace

bool tells_failed_activation(const std::string& root, const StorePath& system) {
  std::set<std::string> known{system.str() + "/bin/switch-to-configuration"};
  std::set<std::string> read;
  while (read.size() < known.size()) {
    for (const std::string& path : std::set<std::string>(known)) {
      if (!read.insert(path).second) continue;
      const auto real = real_path(root, path);
      const auto text = real ? read_file(root + *real, kProgramMax) : Result<std::string>(Error{});
      if (!text) continue;
      if (text->find(kSentence) != std::string::npos) return true;
      add_named(*text, known);
    }
  }
  return false;
}

}  // namespace flurry::agent
