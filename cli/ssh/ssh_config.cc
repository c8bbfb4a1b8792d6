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
#include <system_error>

#include "cli/ssh/libssh_settings.h"
#include "cli/ssh/ssh_options.h"
#include "core/sys/subprocess.h"

namespace flurry::ssh {
namespace {

// Stands for those that flurry runs.
constexpr const char* kCommand = "sh";

// What a path in ssh's configuration may refer to.
struct Names {
  std::string home, original, host, user, local_user, key_alias;
  uint16_t port = 22;
};

std::string local_user_name() {
  std::array<char, 4096> buffer;
  passwd entry{};
  passwd* found = nullptr;
  ::getpwuid_r(::getuid(), &entry, buffer.data(), buffer.size(), &found);
  return found != nullptr ? entry.pw_name : std::to_string(::getuid());
}

std::optional<std::string> home_of(const std::string& user) {
  std::array<char, 4096> buffer;
  passwd entry{};
  passwd* found = nullptr;
  ::getpwnam_r(user.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found == nullptr) return std::nullopt;
  return entry.pw_dir;
}

std::string local_host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "";
}

// TOKENS of ssh_config(5) but for %C and %j, whose meaning differs from version to version.
std::optional<std::string> token(char c, const Names& names) {
  switch (c) {
    case '%':
      return "%";
    case 'd':
      return names.home;
    case 'h':
      return names.host;
    case 'i':
      return std::to_string(::getuid());
    case 'k':
      return names.key_alias;
    case 'l':
      return local_host_name();
    case 'L': {
      const auto name = local_host_name();
      return name.substr(0, name.find('.'));
    }
    case 'n':
      return names.original;
    case 'p':
      return std::to_string(names.port);
    case 'r':
      return names.user;
    case 'u':
      return names.local_user;
    default:
      return std::nullopt;
  }
}

// "~/x" and "~user/x".
std::optional<std::string> take_home(std::string_view& text, const Names& names) {
  if (!text.starts_with('~')) return "";
  const auto slash = std::min(text.find('/'), text.size());
  const std::string user(text.substr(1, slash - 1));
  text.remove_prefix(slash);
  return user.empty() ? names.home : home_of(user);
}

// Nothing: it has a part that only ssh can read.
std::optional<std::string> expand_path(std::string_view text, const Names& names) {
  auto out = take_home(text, names);
  for (size_t i = 0; out && i < text.size(); ++i) {
    if (text[i] == '%') {
      const auto expanded = i + 1 < text.size() ? token(text[++i], names) : std::nullopt;
      if (!expanded) return std::nullopt;
      *out += *expanded;
    } else if (text.substr(i, 2) == "${" && text.find('}', i) != text.npos) {
      const auto end = text.find('}', i);
      const char* value = std::getenv(std::string(text.substr(i + 2, end - i - 2)).c_str());
      *out += value != nullptr ? value : "";
      i = end;
    } else {
      *out += text[i];
    }
  }
  return out;
}

// ssh prints several files in one line and without quotes: a word that can't begin a file's name belongs to
// the file before it, after a blank.
std::vector<std::string> split_files(std::string_view text) {
  std::vector<std::string> out;
  while (!text.empty()) {
    const auto word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(word.size() + 1, text.size()));
    const bool begins =
        word.starts_with('/') || word.starts_with('~') || word.starts_with("${") || word == "none";
    if (begins || out.empty())
      out.emplace_back(word);
    else
      out.back().append(" ").append(word);
  }
  std::erase_if(out, [](const std::string& file) { return file.empty() || file == "none"; });
  return out;
}

std::optional<std::string> expand_agent(std::string_view text, const Names& names,
                                        const std::string& variable) {
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

// With what a terminal or a log can show of it.
void leave_to_program(std::string_view key, std::string_view value, SshConfig& config) {
  constexpr size_t kShownMax = 80;
  config.program_only.push_back(std::string(key) + " " + std::string(value.substr(0, kShownMax)));
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
  } else if (key == "proxyjump" && value != "none") {
    config.jump = value;
  }
  return {};
}

// Lists of algorithms: ssh prints them whole, whatever "+" and "-" the user wrote.
void take_algorithms(std::string_view key, std::string_view value, SshConfig& config) {
  std::string* list = key == "ciphers"                    ? &config.algorithms.ciphers
                      : key == "macs"                     ? &config.algorithms.macs
                      : key == "kexalgorithms"            ? &config.algorithms.key_exchanges
                      : key == "hostkeyalgorithms"        ? &config.algorithms.host_keys
                      : key == "pubkeyacceptedalgorithms" ? &config.accepted_keys
                                                          : nullptr;
  if (list == nullptr) return;
  *list = common_algorithms(*list, value);
  if (list->empty()) leave_to_program(key, value, config);
}

void take_files(std::string_view key, std::string_view value, const Names& names, SshConfig& config,
                std::vector<std::string>& files) {
  files.clear();
  for (const auto& word : split_files(value)) {
    auto file = expand_path(word, names);
    if (!file) {
      config.has_all_known_hosts = false;
      return leave_to_program(key, value, config);
    }
    files.push_back(std::move(*file));
  }
}

// ssh finds a certificate beside the key by itself, and names it nowhere.
void take_identity(std::string_view value, const Names& names, SshConfig& config) {
  const auto path = expand_path(value, names);
  if (!path) return leave_to_program("identityfile", value, config);
  std::error_code error;
  if (std::filesystem::exists(*path + "-cert.pub", error))
    leave_to_program("certificatefile", *path + "-cert.pub", config);
  if (std::filesystem::is_regular_file(*path, error)) config.identity_files.push_back(*path);
}

void take_path(std::string_view key, std::string_view value, const Names& names,
               const std::string& agent_variable, SshConfig& config) {
  if (key == "identityfile" && value != "none") {
    take_identity(value, names, config);
  } else if (key == "identityagent") {
    const auto socket = expand_agent(value, names, agent_variable);
    if (!socket) return leave_to_program(key, value, config);
    config.agent_socket = *socket;
  } else if (key == "userknownhostsfile") {
    take_files(key, value, names, config, config.user_known_hosts);
  } else if (key == "globalknownhostsfile") {
    take_files(key, value, names, config, config.global_known_hosts);
  }
}

template <typename Take>
Result<void> for_each_line(std::string_view text, Take take) {
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    const auto space = line.find(' ');
    if (space == line.npos) continue;
    std::string key(line.substr(0, space));
    std::transform(key.begin(), key.end(), key.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    RETURN_IF_ERROR(take(key, line.substr(space + 1)));
  }
  return {};
}

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

}  // namespace

Result<std::vector<std::string>> ssh_argv(const SshProgram& program, const Target& target,
                                          const std::vector<std::string>& first) {
  ASSIGN_OR_RETURN(const auto options, usable_ssh_options(target.ssh_options));
  std::vector<std::string> argv = {program.name};
  argv.insert(argv.end(), program.arguments.begin(), program.arguments.end());
  // Commands of ours with pipes of their own, whatever the configuration says of stdin and sessions.
  argv.insert(argv.end(), {"-T", "-o", "RemoteCommand=none", "-o", "SessionType=default", "-o",
                           "StdinNull=no", "-o", "ForkAfterAuthentication=no"});
  argv.insert(argv.end(), first.begin(), first.end());
  if (target.port) argv.insert(argv.end(), {"-p", std::to_string(*target.port)});
  if (target.user) argv.insert(argv.end(), {"-l", *target.user});
  if (target.identity_file) argv.insert(argv.end(), {"-i", *target.identity_file});
  argv.insert(argv.end(), options.begin(), options.end());
  return argv;
}

Result<SshConfig> parse_ssh_config(std::string_view text, const std::string& address, const std::string& home,
                                   const std::string& agent_variable) {
  SshConfig config;
  if (text.find('\0') != text.npos)
    return Error{ErrorKind::kInvalidInput, "ssh -G: a zero byte in its output"};
  RETURN_IF_ERROR(for_each_line(text, [&](const std::string& key, std::string_view value) {
    const bool is_jump = key == "proxyjump" && value != "none";
    if (is_jump || !is_done_by_libssh(key, value)) leave_to_program(key, value, config);
    take_algorithms(key, value, config);
    return take_plain(key, value, config);
  }));
  if (config.hostname.empty() || config.user.empty())
    return Error{ErrorKind::kInvalidInput, "ssh -G: named no host or no user"};
  if (config.hostname.front() == '-')
    return Error{ErrorKind::kInvalidInput, "ssh -G: a host name can't start with '-'"};

  config.agent_socket = agent_variable;
  const Names names{
      home,        address,           config.hostname,
      config.user, local_user_name(), config.host_key_alias.empty() ? address : config.host_key_alias,
      config.port};
  RETURN_IF_ERROR(for_each_line(text, [&](const std::string& key, std::string_view value) -> Result<void> {
    take_path(key, value, names, agent_variable, config);
    return {};
  }));
  return config;
}

Result<SshConfig> ask_ssh_config(const SshProgram& program, const Target& target, const std::string& address,
                                 TimePoint deadline) {
  sys::Command command;
  ASSIGN_OR_RETURN(command.argv, ssh_argv(program, target, {}));
  // -G takes no options behind it here: whatever the target says stands before, the address after "--". With
  // a command, as "Match sessiontype exec" asks for one.
  command.argv.insert(command.argv.end(), {"-G", "--", address, kCommand});
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
  // As ssh itself, which asks the user database and not the environment.
  const auto home = home_of(local_user_name());
  return parse_ssh_config(result->standard_output, address, home ? *home : variable("HOME"),
                          variable("SSH_AUTH_SOCK"));
}

}  // namespace flurry::ssh
