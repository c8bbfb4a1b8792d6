#include "cli/ssh/ssh_config.h"

#include <pwd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <sstream>
#include <system_error>

#include "core/sys/subprocess.h"

namespace flurry::ssh {
namespace {

// What a path in ssh's configuration may refer to.
struct Names {
  std::string home, original, host, user, local_user;
  uint16_t port = 22;
};

std::string local_user_name() {
  std::array<char, 4096> buffer;
  passwd entry{};
  passwd* found = nullptr;
  ::getpwuid_r(::getuid(), &entry, buffer.data(), buffer.size(), &found);
  return found != nullptr ? entry.pw_name : std::to_string(::getuid());
}

std::string token(char c, const Names& names) {
  switch (c) {
    case '%':
      return "%";
    case 'd':
      return names.home;
    case 'h':
      return names.host;
    case 'n':
      return names.original;
    case 'p':
      return std::to_string(names.port);
    case 'r':
      return names.user;
    case 'u':
      return names.local_user;
    case 'i':
      return std::to_string(::getuid());
    default:
      return std::string("%") + c;
  }
}

std::string expand_path(std::string_view text, const Names& names) {
  std::string out;
  if (text.starts_with("~/")) {
    out = names.home;
    text.remove_prefix(1);
  }
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 1 < text.size()) {
      out += token(text[++i], names);
    } else if (text.substr(i, 2) == "${" && text.find('}', i) != text.npos) {
      const auto end = text.find('}', i);
      const char* value = std::getenv(std::string(text.substr(i + 2, end - i - 2)).c_str());
      out += value != nullptr ? value : "";
      i = end;
    } else {
      out += text[i];
    }
  }
  return out;
}

std::vector<std::string> expand_list(std::string_view text, const Names& names) {
  std::istringstream words{std::string(text)};
  std::vector<std::string> out;
  for (std::string word; words >> word;)
    if (word != "none") out.push_back(expand_path(word, names));
  return out;
}

std::string expand_agent(std::string_view text, const Names& names, const std::string& variable) {
  if (text == "none") return "";
  if (text == "SSH_AUTH_SOCK") return variable;
  if (text.starts_with('$') && !text.starts_with("${")) {
    const char* value = std::getenv(std::string(text.substr(1)).c_str());
    return value != nullptr ? value : "";
  }
  return expand_path(text, names);
}

std::optional<StrictChecking> parse_strict(std::string_view text) {
  if (text == "yes" || text == "true") return StrictChecking::kYes;
  if (text == "ask") return StrictChecking::kAsk;
  if (text == "accept-new") return StrictChecking::kAcceptNew;
  if (text == "no" || text == "off" || text == "false") return StrictChecking::kNo;
  return std::nullopt;
}

bool parse_number(std::string_view text, int low, int high, int& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && out >= low && out <= high;
}

bool is_yes(std::string_view text) { return text == "yes" || text == "true"; }

// The program's spelling of what it must do itself; empty when libssh2 can do without.
std::string program_only_name(std::string_view key) {
  for (std::string_view name : {"ProxyJump", "ProxyCommand", "CertificateFile", "PKCS11Provider",
                                "KnownHostsCommand", "RevokedHostKeys", "BindAddress", "BindInterface"})
    if (std::equal(name.begin(), name.end(), key.begin(), key.end(),
                   [](unsigned char a, unsigned char b) { return std::tolower(a) == b; }))
      return std::string(name);
  return "";
}

Error bad_line(std::string_view key, std::string_view value) {
  return {ErrorKind::kInvalidInput,
          "ssh -G: can't read \"" + std::string(key) + " " + std::string(value.substr(0, 100)) + "\""};
}

// Values whose meaning stands alone. Paths may name host, user and port, so they are expanded later.
Result<void> take_plain(std::string_view key, std::string_view value, SshConfig& config) {
  int number = 0;
  if (key == "hostname") {
    config.hostname = value;
  } else if (key == "user") {
    config.user = value;
  } else if (key == "port") {
    if (!parse_number(value, 1, 65535, number)) return bad_line(key, value);
    config.port = static_cast<uint16_t>(number);
  } else if (key == "identitiesonly") {
    config.identities_only = is_yes(value);
  } else if (key == "hashknownhosts") {
    config.hash_known_hosts = is_yes(value);
  } else if (key == "hostkeyalias") {
    config.host_key_alias = value;
  } else if (key == "stricthostkeychecking") {
    const auto strict = parse_strict(value);
    if (!strict) return bad_line(key, value);
    config.strict = *strict;
  } else if (key == "connecttimeout") {
    if (value != "none" && !parse_number(value, 0, 86400, config.connect_timeout_s))
      return bad_line(key, value);
  } else if (key == "addressfamily") {
    config.address_family = value == "inet" ? AF_INET : value == "inet6" ? AF_INET6 : AF_UNSPEC;
  } else if (const auto name = program_only_name(key); !name.empty() && value != "none" && !value.empty()) {
    config.program_only.push_back(name);
    if (name == "ProxyJump") config.jump = value;
  }
  return {};
}

void take_path(std::string_view key, std::string_view value, const Names& names,
               const std::string& agent_variable, SshConfig& config) {
  if (key == "identityfile" && value != "none") {
    const auto path = expand_path(value, names);
    std::error_code error;
    if (std::filesystem::is_regular_file(path, error)) config.identity_files.push_back(path);
  } else if (key == "identityagent") {
    config.agent_socket = expand_agent(value, names, agent_variable);
  } else if (key == "userknownhostsfile") {
    config.user_known_hosts = expand_list(value, names);
  } else if (key == "globalknownhostsfile") {
    config.global_known_hosts = expand_list(value, names);
  }
}

template <typename Take>
Result<void> for_each_line(std::string_view text, Take take) {
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const auto space = line.find(' ');
    if (space == line.npos) continue;
    RETURN_IF_ERROR(take(line.substr(0, space), line.substr(space + 1)));
  }
  return {};
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

}  // namespace

std::vector<std::string> ssh_argv(const SshProgram& program, const Target& target) {
  std::vector<std::string> argv = {program.name};
  argv.insert(argv.end(), program.arguments.begin(), program.arguments.end());
  if (target.port) argv.insert(argv.end(), {"-p", std::to_string(*target.port)});
  if (target.user) argv.insert(argv.end(), {"-l", *target.user});
  if (target.identity_file) argv.insert(argv.end(), {"-i", *target.identity_file});
  argv.insert(argv.end(), target.ssh_options.begin(), target.ssh_options.end());
  return argv;
}

Result<SshConfig> parse_ssh_config(std::string_view text, const std::string& address, const std::string& home,
                                   const std::string& agent_variable) {
  SshConfig config;
  if (text.find('\0') != text.npos)
    return Error{ErrorKind::kInvalidInput, "ssh -G: a zero byte in its output"};
  RETURN_IF_ERROR(for_each_line(
      text, [&](std::string_view key, std::string_view value) { return take_plain(key, value, config); }));
  if (config.hostname.empty() || config.user.empty())
    return Error{ErrorKind::kInvalidInput, "ssh -G: named no host or no user"};
  if (config.hostname.front() == '-')
    return Error{ErrorKind::kInvalidInput, "ssh -G: a host name can't start with '-'"};

  config.agent_socket = agent_variable;
  const Names names{home, address, config.hostname, config.user, local_user_name(), config.port};
  RETURN_IF_ERROR(for_each_line(text, [&](std::string_view key, std::string_view value) -> Result<void> {
    take_path(key, value, names, agent_variable, config);
    return {};
  }));
  return config;
}

Result<SshConfig> ask_ssh_config(const SshProgram& program, const Target& target, const std::string& address,
                                 TimePoint deadline) {
  sys::Command command;
  command.argv = ssh_argv(program, target);
  // -G takes no options behind it here: whatever the target says stands before, the address after "--".
  command.argv.insert(command.argv.end(), {"-G", "--", address});
  command.output_limit = 1 << 20;
  auto result = sys::run(command, deadline);
  if (!result) {
    if (result.error().kind == ErrorKind::kTimedOut) return result.error();
    return Error{ErrorKind::kUnsupported,
                 "the ssh program is needed to read the ssh configuration: " + result.error().message};
  }
  if (result->exit_code == 127 && result->standard_error.empty())
    return Error{ErrorKind::kUnsupported,
                 "the ssh program is needed to read the ssh configuration: " + program.name + " not found"};
  if (result->exit_code != 0) {
    auto text = result->standard_error;
    while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
    return Error{ErrorKind::kInvalidInput, "ssh -G " + address + ": " + text};
  }
  return parse_ssh_config(result->standard_output, address, variable("HOME"), variable("SSH_AUTH_SOCK"));
}

}  // namespace flurry::ssh
