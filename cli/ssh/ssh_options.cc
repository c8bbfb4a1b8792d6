#include "cli/ssh/ssh_options.h"

#include <string_view>

namespace flurry::ssh {
namespace {

constexpr std::string_view kWithValue = "BDEFIJLOPQRSWbceilmopw";
constexpr std::string_view kLeftOut = "tTnMSDLRwgXYEqvy";
constexpr std::string_view kRefused = "fGNOQsVW";
constexpr std::string_view kFlags = "1246ACKakxfGNsVtTnMgXYqvy";

bool has(std::string_view letters, char letter) { return letters.find(letter) != letters.npos; }

Error refused(const std::string& what, const std::string& why) {
  return {ErrorKind::kInvalidInput, "sshOptions: " + what + " " + why};
}

}  // namespace

Result<std::vector<std::string>> usable_ssh_options(const std::vector<std::string>& given) {
  std::vector<std::string> out;
  for (size_t i = 0; i < given.size(); ++i) {
    const std::string& word = given[i];
    if (word.size() < 2 || word[0] != '-' || word == "--")
      return refused("\"" + word + "\"", "is not an option of ssh");
    for (size_t at = 1; at < word.size(); ++at) {
      const char letter = word[at];
      const std::string option = std::string("-") + letter;
      if (has(kRefused, letter))
        return refused(option, "makes ssh do something else than run a command on the host; leave it out");
      if (has(kFlags, letter)) {
        if (!has(kLeftOut, letter)) out.push_back(option);
        continue;
      }
      if (!has(kWithValue, letter)) return refused(option, "is not an option of ssh");
      std::string value = word.substr(at + 1);
      if (value.empty() && ++i == given.size()) return refused(option, "lacks its value");
      if (value.empty()) value = given[i];
      if (letter == 'J')
        out.insert(out.end(), {"-o", "ProxyJump=" + value});
      else if (!has(kLeftOut, letter))
        out.insert(out.end(), {option, value});
      break;
    }
  }
  return out;
}

}  // namespace flurry::ssh
