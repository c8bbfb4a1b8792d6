#include "agent/activation_script.h"

#include <algorithm>
#include <array>
#include <string>
#include <utility>
#include <vector>

namespace flurry::agent {
namespace {

// What can make one line do more than its first word says.
constexpr std::string_view kMore = ";&|`<>(){}\\";

constexpr std::array<std::string_view, 4> kActions{"switch", "boot", "test", "dry-activate"};

// Of the shell's quotes only the plain kind: they are left out.
std::vector<std::string> words_of(std::string_view line) {
  std::vector<std::string> out;
  bool is_in_word = false;
  char quote = 0;
  for (const char c : line) {
    if (quote != 0 ? c == quote : (c == '"' || c == '\'')) {
      quote = quote != 0 ? 0 : c;
      if (!std::exchange(is_in_word, true)) out.emplace_back();
      continue;
    }
    if (quote == 0 && (c == ' ' || c == '\t' || c == '\r')) {
      is_in_word = false;
      continue;
    }
    if (!std::exchange(is_in_word, true)) out.emplace_back();
    out.back() += c;
  }
  return out;
}

// "[[ "${DRY_ACTIVATE:-}" == "1" ]]", the only tests that choose between the actions.
bool is_choice(std::string_view rest) {
  for (const std::string_view name : {"DRY_ACTIVATE", "BOOT"})
    for (const std::string& value : {"\"${" + std::string(name) + ":-}\"", "\"$" + std::string(name) + "\""})
      if (rest == "[[ " + value + " == \"1\" ]]" || rest == "[[ " + value + " == \"1\" ]]; then") return true;
  return false;
}

bool is_switch(std::vector<std::string> words) {
  if (!words.empty() && words[0] == "exec") words.erase(words.begin());
  if (words.size() != 2 || words[0] != "$PROFILE/bin/switch-to-configuration") return false;
  return std::find(kActions.begin(), kActions.end(), words[1]) != kActions.end();
}

bool is_harmless(std::string_view line) {
  if (line.empty() || line.front() == '#' || line == "then" || line == "else" || line == "fi") return true;
  if (line.starts_with("if ")) return is_choice(line.substr(3));
  if (line.starts_with("elif ")) return is_choice(line.substr(5));
  if (line.find_first_of(kMore) != std::string_view::npos) return false;
  const auto words = words_of(line);
  if (words.empty() || is_switch(words)) return true;
  if (words[0] == "set") return words.size() <= 3;
  if (words[0] == "cd") return words.size() == 2;
  // deploy-rs names its own script where a profile knows nothing of dry runs and of booting.
  if (words[0] == "echo") return words.size() == 2 && words[1].starts_with("/nix/store/");
  // It lets systemd-boot take the newest entry, which NixOS writes there anyway.
  return words.size() == 4 && words[0] == "sed" && words[1] == "-i" && words[2] == "/^default /d" &&
         words[3].ends_with("/loader/loader.conf");
}

}  // namespace

bool only_switches(std::string_view script) {
  bool switches = false;
  while (!script.empty()) {
    const size_t end = std::min(script.find('\n'), script.size());
    std::string_view line = script.substr(0, end);
    script.remove_prefix(std::min(end + 1, script.size()));
    while (!line.empty() && (line.front() == ' ' || line.front() == '\t')) line.remove_prefix(1);
    while (!line.empty() && (line.back() == ' ' || line.back() == '\t' || line.back() == '\r'))
      line.remove_suffix(1);
    if (!is_harmless(line)) return false;
    switches |= !line.starts_with('#') && is_switch(words_of(line));
  }
  return switches;
}

}  // namespace flurry::agent
