#include "agent/import_policy.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "core/sys/clock.h"
#include "core/sys/fd.h"
#include "core/sys/subprocess.h"

namespace flurry::agent {
namespace {

using Json = nlohmann::json;

constexpr size_t kFileMax = 64 << 10;
constexpr size_t kKeysMax = 1024;
constexpr size_t kNamesShown = 8;
constexpr size_t kSettingsMax = 1 << 20;
constexpr Millis kReadTimeout{5000};
constexpr Millis kSettingsTimeout{10'000};

Error refused(const std::string& what) {
  return {ErrorKind::kRefused,
          std::string("this host takes no paths while ") + kPolicyFile + " is wrong: " + what};
}

Result<std::vector<nix::PublicKey>> parse_keys(const Json& list, const std::string& where) {
  if (!list.is_array() || list.size() > kKeysMax) return refused(where + " must be a list of public keys");
  std::vector<nix::PublicKey> keys;
  for (const auto& entry : list) {
    if (!entry.is_string()) return refused(where + " must be a list of public keys");
    auto key = nix::PublicKey::parse(entry.get<std::string>());
    if (!key) return refused(where + ": " + key.error().message);
    keys.push_back(*std::move(key));
  }
  return keys;
}

Result<std::vector<nix::PublicKey>> keys_of_nix(const NixSettings& settings) {
  const auto text = settings();
  if (!text)
    return refused("it names no trustedPublicKeys, and Nix does not tell its own: " + text.error().message);
  const Json root = Json::parse(*text, nullptr, false);
  const std::string name = "trusted-public-keys";
  if (!root.is_object() || !root.contains(name) || !root[name].is_object() || !root[name].contains("value"))
    return refused("it names no trustedPublicKeys, and Nix does not tell its own");
  return parse_keys(root[name]["value"], "Nix's " + name);
}

template <typename Names>
std::string list_names(const Names& names) {
  std::string out;
  size_t shown = 0;
  for (const auto& name : names) {
    if (shown == kNamesShown) return out + ", ...";
    out += (shown++ == 0 ? "" : ", ") + name;
  }
  return out.empty() ? "none" : out;
}

// A link that leads nowhere is a policy that can't be read, not none.
bool is_absent(const std::string& file) {
  struct stat status {};
  if (::lstat(file.c_str(), &status) == 0 || errno != ENOENT) return false;
  const std::string folder = std::filesystem::path(file).parent_path().string();
  return ::lstat(folder.c_str(), &status) != 0 || ::stat(folder.c_str(), &status) == 0;
}

}  // namespace

Result<std::string> nix_settings() {
  const auto ask = [](std::vector<std::string> words) {
    std::vector<std::string> argv = {"nix", "--extra-experimental-features", "nix-command"};
    argv.insert(argv.end(), words.begin(), words.end());
    // The host's settings, not those of whoever logged in.
    sys::Command command{.argv = std::move(argv), .environment = {"NIX_CONFIG=", "NIX_USER_CONF_FILES="}};
    command.output_limit = kSettingsMax;
    return sys::run_checked(command, sys::now() + kSettingsTimeout);
  };
  auto settings = ask({"show-config", "--json"});
  return settings ? settings : ask({"config", "show", "--json"});  // its newer name
}

Result<ImportPolicy> load_policy(const std::string& file, const NixSettings& settings) {
  if (is_absent(file)) return ImportPolicy{};
  const sys::Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.is_open()) return refused(sys::errno_error("open", errno).message);
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) return refused("it is no file");
  std::string text;
  std::vector<char> buffer(kFileMax);
  const TimePoint deadline = sys::now() + kReadTimeout;
  for (;;) {
    const auto n = sys::read_some(fd.get(), buffer, deadline);
    if (!n) return refused(n.error().message);
    if (*n == 0) break;
    text.append(buffer.data(), *n);
    if (text.size() > kFileMax) return refused("it is longer than 64 KiB");
  }
  return parse_policy(text, settings);
}

Result<ImportPolicy> parse_policy(std::string_view text, const NixSettings& settings) {
  // Of a field that is there twice, the last would hold.
  std::set<std::string> seen;
  std::string repeated;
  const auto look = [&](int depth, Json::parse_event_t event, Json& name) {
    if (event == Json::parse_event_t::key && depth == 1 && !seen.insert(name.get<std::string>()).second)
      repeated = name.get<std::string>();
    return true;
  };
  const Json root = Json::parse(text, look, false);
  if (!root.is_object()) return refused("it holds no JSON object");
  if (!repeated.empty()) return refused("its field '" + repeated.substr(0, 64) + "' is there twice");
  ImportPolicy policy;
  bool has_keys = false;
  for (const auto& [name, value] : root.items()) {
    if (name == "requireSignatures") {
      if (!value.is_boolean()) return refused("requireSignatures must be true or false");
      policy.require_signatures = value.get<bool>();
    } else if (name == "trustedPublicKeys") {
      ASSIGN_OR_RETURN(policy.keys, parse_keys(value, name));
      has_keys = true;
    } else {
      return refused("it has no field '" + name.substr(0, 64) +
                     "', but requireSignatures and trustedPublicKeys");
    }
  }
  if (policy.require_signatures && !has_keys) {
    ASSIGN_OR_RETURN(policy.keys, keys_of_nix(settings));
  }
  return policy;
}

Result<void> admit(const ImportPolicy& policy, const nix::PathInfo& info) {
  if (!policy.require_signatures || nix::is_signed(info, policy.keys)) return {};
  std::vector<std::string> trusted, found;
  for (const auto& key : policy.keys) trusted.push_back(key.name());
  for (const auto& signature : info.signatures)
    found.push_back(signature.substr(0, signature.find(':')).substr(0, 64));
  return Error{ErrorKind::kRefused,
               std::string("carries no good signature by a key that this host trusts, and its ") +
                   kPolicyFile + " requires one (trusted: " + list_names(trusted) +
                   "; the path's: " + list_names(found) +
                   "): sign on the controller with --sign-key FILE, or have the host trust the key"};
}

}  // namespace flurry::agent
