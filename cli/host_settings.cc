#include "cli/host_settings.h"

#include <algorithm>
#include <string_view>

namespace flurry {
namespace {

constexpr std::string_view kOfEvaluation[] = {"access-tokens",
                                              "accept-flake-config",
                                              "allow-import-from-derivation",
                                              "allow-unsafe-native-code-during-evaluation",
                                              "allowed-uris",
                                              "commit-lockfile-summary",
                                              "eval-cache",
                                              "flake-registry",
                                              "netrc-file",
                                              "nix-path",
                                              "pure-eval",
                                              "restrict-eval",
                                              "tarball-ttl",
                                              "use-registries",
                                              "warn-dirty"};
constexpr std::string_view kOfThisMachine[] = {
    "builders", "cores", "max-jobs", "post-build-hook", "secret-key-files", "ssl-cert-file", "store"};

bool concerns_hosts(std::string_view name) {
  if (name.starts_with("extra-")) name.remove_prefix(6);  // adds to the setting behind it
  const auto is_name = [&](std::string_view other) { return other == name; };
  return std::none_of(std::begin(kOfEvaluation), std::end(kOfEvaluation), is_name) &&
         std::none_of(std::begin(kOfThisMachine), std::end(kOfThisMachine), is_name);
}

}  // namespace

NixSettingList settings_for_hosts(const NixSettingList& all) {
  NixSettingList out;
  std::copy_if(all.begin(), all.end(), std::back_inserter(out),
               [](const auto& setting) { return concerns_hosts(setting.first); });
  return out;
}

Result<std::string> nix_config_text(const NixSettingList& settings) {
  std::string text;
  for (const auto& [name, value] : settings) {
    const bool is_name =
        !name.empty() && name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
    if (!is_name) return Error{ErrorKind::kInvalidInput, "'" + name + "' is no setting of Nix"};
    // Nix takes the rest of such a line for a comment, or for another setting.
    if (value.find_first_of(std::string_view("#\n\r\0", 4)) != std::string::npos)
      return Error{ErrorKind::kInvalidInput, "a build on the host can't be told the value of '" + name +
                                                 "': it holds a '#' or more than one line; set it in the "
                                                 "host's nix.conf"};
    text += name + " = " + value + "\n";
  }
  return text;
}

}  // namespace flurry
