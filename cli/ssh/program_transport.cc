#include "cli/ssh/program_transport.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <optional>
#include <regex>
#include <sstream>
#include <system_error>

#include "cli/ssh/child.h"
#include "cli/ssh/host_key.h"
#include "cli/ssh/host_key_errors.h"
#include "core/sys/clock.h"
#include "core/sys/subprocess.h"

namespace flurry::ssh {
namespace {

constexpr std::string_view kReady = "flurry-ready\n";
// A login shell may greet; more than this before our word is no greeting.
constexpr size_t kGreetingMax = 64 << 10;
constexpr Millis kLeaveTime{300};
// For the connection and all of the handshake, where the user has set none.
constexpr int kConnectSeconds = 20;

// A directory only we can enter, removed with what is in it.
class PrivateDirectory {
 public:
  static Result<PrivateDirectory> make() {
    // A socket's path must be short, so a long TMPDIR is not used; nor is one that is gone, as a nix-shell's
    // is after its end.
    const char* base = std::getenv("TMPDIR");
    const bool is_usable = base != nullptr && std::strlen(base) < 50 && ::access(base, W_OK | X_OK) == 0;
    std::string path = std::string(is_usable ? base : "/tmp") + "/flurry-XXXXXX";
    if (::mkdtemp(path.data()) == nullptr) return sys::errno_error("mkdtemp " + path, errno);
    return PrivateDirectory(std::move(path));
  }
  PrivateDirectory(PrivateDirectory&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  PrivateDirectory& operator=(PrivateDirectory&&) = delete;
  ~PrivateDirectory() {
    std::error_code error;
    if (!path_.empty()) std::filesystem::remove_all(path_, error);
  }
  std::string socket() const { return path_ + "/s"; }
  std::string known_hosts() const { return path_ + "/known_hosts"; }

 private:
  explicit PrivateDirectory(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// What ssh said of a failure, without what newer versions say of a connection's cryptography ("** …").
std::string without_notices(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    while (line.ends_with('\r')) line.remove_suffix(1);
    if (!line.empty() && !line.starts_with("** ")) out.append(out.empty() ? "" : "\n").append(line);
  }
  return out;
}

bool is_listening(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.c_str(), std::min(path.size(), sizeof address.sun_path - 1));
  const sys::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

class ProgramProcess : public RemoteProcess {
 public:
  ProgramProcess(Child child, sys::Fd io, std::string control)
      : child_(std::move(child)), io_(std::move(io)), control_(std::move(control)) {}

  sys::Fd& io() override { return io_; }

  Result<RemoteExit> wait(TimePoint deadline) override {
    auto status = child_.wait(deadline);
    if (!status) return status.error().with_context("remote command");
    RemoteExit exit;
    exit.standard_error = child_.standard_error();
    if (WIFEXITED(*status)) exit.exit_code = WEXITSTATUS(*status);
    // 255 is also how the client says that its master, that is the connection, has gone.
    if (!ended_before_ && (exit.exit_code == -1 || (exit.exit_code == 255 && !is_listening(control_))))
      return Error{ErrorKind::kUnreachable, "the connection was lost"};
    ended_before_ = true;
    return exit;
  }

 private:
  Child child_;
  sys::Fd io_;
  const std::string control_;
  bool ended_before_ = false;
};

class ProgramConnection : public Connection {
 public:
  ProgramConnection(std::vector<std::string> client_argv, Child master, PrivateDirectory directory,
                    sys::Fd lifeline, std::string peer)
      : client_argv_(std::move(client_argv)),
        directory_(std::move(directory)),
        master_(std::move(master)),
        lifeline_(std::move(lifeline)),
        peer_(std::move(peer)) {}

  ~ProgramConnection() override {
    master_.signal(SIGTERM);
    // A clean goodbye to the server if that is quick; killed otherwise.
    (void)master_.wait(sys::now() + kLeaveTime).has_value();
  }

  Result<std::unique_ptr<RemoteProcess>> exec(const std::string& command, TimePoint) override {
    if (!is_listening(directory_.socket()))
      return Error{ErrorKind::kUnreachable, peer_ + ": the connection was lost"};
    ASSIGN_OR_RETURN(auto ends, sys::socket_pair());
    auto argv = client_argv_;
    argv.push_back(command);
    ASSIGN_OR_RETURN(auto child, Child::start(argv, std::move(ends.second)));
    return std::unique_ptr<RemoteProcess>(
        std::make_unique<ProgramProcess>(std::move(child), std::move(ends.first), directory_.socket()));
  }

  std::string peer() const override { return peer_; }

 private:
  const std::vector<std::string> client_argv_;
  PrivateDirectory directory_;
  Child master_;
  sys::Fd lifeline_;
  const std::string peer_;
};

// Until the far end says that it is there; false at end of file.
Result<bool> wait_until_ready(int fd, TimePoint deadline) {
  std::string seen;
  std::array<char, 4096> buffer;
  while (seen.find(kReady) == std::string::npos) {
    ASSIGN_OR_RETURN(const size_t n, sys::read_some(fd, buffer, deadline));
    if (n == 0) return false;
    seen.append(buffer.data(), n);
    if (seen.size() > kGreetingMax)
      return Error{ErrorKind::kFailed, "the remote shell printed too much before running a command"};
  }
  return true;
}

bool takes_new_keys(const SshConfig& config) {
  const bool is_asked = config.strict == StrictChecking::kNo || config.strict == StrictChecking::kAcceptNew;
  return is_asked && config.has_all_known_hosts;
}

// The file that ssh learns new keys into, before the user's own: it holds what this run has seen, so that ssh
// refuses any other key, and tells us afterwards what is new.
std::string run_known_hosts(const SshConfig& config, const std::string& ours, const SeenHostKeys* seen) {
  std::ofstream file(ours);
  if (const auto blob = seen_key(config, seen); !blob.empty())
    file << known_hosts_line(known_name(config), blob, "");
  std::string value = "UserKnownHostsFile=\"" + ours + "\"";
  for (const auto& path : config.user_known_hosts) value += " \"" + path + "\"";
  return value;
}

Result<void> keep_new_key(const SshConfig& config, const std::string& ours, SeenHostKeys* seen) {
  if (!seen_key(config, seen).empty()) return {};
  for (const auto& key : read_known_keys({ours}, known_name(config)))
    if (key.mark == KnownKeyMark::kNone) return accept_new_key(config, key.blob, seen);
  return {};
}

// "debug1: Server host key: ssh-rsa SHA256:…", as ssh says it where it is asked to say more.
std::string shown_key_of(std::string_view log) {
  constexpr std::string_view kBefore = "Server host key: ";
  const auto at = log.find(kBefore);
  if (at == log.npos) return "";
  std::istringstream words{std::string(log.substr(at + kBefore.size(), 200))};
  std::string type, fingerprint;
  words >> type >> fingerprint;
  return (type == "ssh-rsa" ? "RSA" : type) + " key " + fingerprint;
}

// "Offending RSA key in /root/.ssh/known_hosts:3"
std::optional<KnownKey> offending_key(const SshConfig& config, const std::string& log) {
  static const std::regex kPattern("Offending \\S+ key in (.+):([0-9]+)");
  std::smatch match;
  if (!std::regex_search(log, match, kPattern)) return std::nullopt;
  for (const auto& keys : {read_known_keys({match[1]}, known_name(config))})
    for (const auto& key : keys)
      if (std::to_string(key.line) == match[2]) return key;
  return std::nullopt;
}

bool is_about_host_key(const std::string& text) {
  return text.find("Host key verification failed") != text.npos;
}

// Which key the host shows, and which one is on file: ssh says it in a banner, or only where it is asked to
// say more. `argv`: the dial that failed.
std::optional<Error> explain_host_key(const SshConfig& config, const std::string& told,
                                      std::vector<std::string> argv, TimePoint deadline) {
  if (!is_about_host_key(told) || told.find("REVOKED") != told.npos) return std::nullopt;
  argv.insert(argv.begin() + 1, "-oLogLevel=DEBUG1");
  sys::Command command;
  command.argv = std::move(argv);
  command.output_limit = 1 << 20;
  const auto again = sys::run(command, deadline);
  if (!again || !is_about_host_key(again->standard_error)) return std::nullopt;
  const std::string shown = shown_key_of(again->standard_error);
  if (shown.empty()) return std::nullopt;
  if (again->standard_error.find("IDENTIFICATION HAS CHANGED") == std::string::npos)
    return unknown_key(config, shown);
  const auto on_file = offending_key(config, again->standard_error);
  return on_file ? std::optional(changed_key(config, *on_file, shown)) : std::nullopt;
}

}  // namespace

Error program_error(const std::string& standard_error) {
  const std::string text = without_notices(standard_error);
  const auto has = [&](std::string_view part) { return text.find(part) != text.npos; };
  const bool refused = has("Permission denied") || has("Host key verification failed") ||
                       has("REMOTE HOST IDENTIFICATION") || has("host key") ||
                       has("Too many authentication failures");
  return {refused ? ErrorKind::kRefused : ErrorKind::kUnreachable,
          "ssh: " + (text.empty() ? "ended without a word" : text)};
}

Result<std::unique_ptr<Connection>> ProgramTransport::dial(const Target& target, TimePoint deadline) {
  Error last{ErrorKind::kInvalidInput, "no address for " + target.host.str()};
  for (const auto& address : target.addresses) {
    ASSIGN_OR_RETURN(const auto config, ask_ssh_config(program_, target, address, deadline));
    auto connection = dial_address(target, config, address, deadline);
    if (connection) return connection;
    last = connection.error();
    if (last.kind != ErrorKind::kUnreachable) break;
  }
  return last;
}

Result<std::unique_ptr<Connection>> ProgramTransport::dial_address(const Target& target,
                                                                   const SshConfig& config,
                                                                   const std::string& address,
                                                                   TimePoint deadline) {
  const std::string peer = config.user + "@" + config.hostname + ":" + std::to_string(config.port);
  ASSIGN_OR_RETURN(auto directory, PrivateDirectory::make());
  ASSIGN_OR_RETURN(auto ends, sys::socket_pair());
  // No answer to three probes: 15 s, as everywhere. Whatever LogLevel says, a failure has a reason.
  std::vector<std::string> first = {"-S", directory.socket(),        "-o", "ControlMaster=yes",
                                    "-o", "ControlPersist=no",       "-o", "BatchMode=yes",
                                    "-o", "ServerAliveInterval=5",   "-o", "ServerAliveCountMax=3",
                                    "-o", "ClearAllForwardings=yes", "-o", "LogLevel=INFO"};
  // "no" would let changed keys pass.
  if (config.strict == StrictChecking::kNo)
    first.insert(first.end(), {"-o", "StrictHostKeyChecking=accept-new"});
  if (takes_new_keys(config))
    first.insert(first.end(), {"-o", run_known_hosts(config, directory.known_hosts(), target.seen)});
  if (config.connect_timeout_s == 0)
    first.insert(first.end(), {"-o", "ConnectTimeout=" + std::to_string(kConnectSeconds)});
  ASSIGN_OR_RETURN(auto argv, ssh_argv(program_, target, first));
  argv.insert(argv.end(), {"--", address, "echo flurry-ready; exec cat > /dev/null"});
  ASSIGN_OR_RETURN(auto master, Child::start(argv, std::move(ends.second)));
  auto ready = wait_until_ready(ends.first.get(), deadline);
  if (!ready) return ready.error().with_context(peer + ": ssh");
  if (!*ready) {
    (void)master.wait(deadline).has_value();
    const std::string told = master.standard_error();
    return explain_host_key(config, told, argv, deadline).value_or(program_error(told)).with_context(peer);
  }
  if (takes_new_keys(config)) RETURN_IF_ERROR(keep_new_key(config, directory.known_hosts(), target.seen));
  // Without the master it must not dial by itself.
  ASSIGN_OR_RETURN(auto client,
                   ssh_argv(program_, target,
                            {"-S", directory.socket(), "-o", "ControlMaster=no", "-o", "BatchMode=yes", "-o",
                             "ProxyCommand=false", "-o", "LogLevel=INFO"}));
  client.insert(client.end(), {"--", address});
  return std::unique_ptr<Connection>(std::make_unique<ProgramConnection>(
      std::move(client), std::move(master), std::move(directory), std::move(ends.first), peer));
}

}  // namespace flurry::ssh
