#include "cli/remote_shell.h"

namespace flurry {

std::string shell_quote(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'')
      out += "'\\''";
    else
      out += c;
  }
  return out + "'";
}

std::string as_root(std::string_view script, const std::vector<std::string>& escalation) {
  const std::string run = "sh -c " + shell_quote(script);
  std::string prefix;
  for (const auto& word : escalation) prefix += shell_quote(word) + " ";
  return "exec sh -c " +
         shell_quote("if [ \"$(id -u)\" -eq 0 ]; then exec " + run + "; else exec " + prefix + run + "; fi");
}

}  // namespace flurry
