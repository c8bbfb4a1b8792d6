#include "cli/ssh/host_key.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <filesystem>

#include "cli/ssh/encoding.h"
#include "core/sys/clock.h"
#include "core/sys/fd.h"

namespace flurry::ssh {
namespace {

// What libssh2 1.10 can verify, best first. Its "ssh-rsa" is the SHA-1 signature that OpenSSH has
// refused since 8.8, so a host with only an RSA key on file is left to the ssh program.
constexpr std::array<std::string_view, 4> kAlgorithms = {"ssh-ed25519", "ecdsa-sha2-nistp256",
                                                         "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"};
constexpr Millis kTurnMax{2'000};
constexpr int kTurnPauseMs = 20;

std::string kind_of(std::string_view blob) {
  const auto type = key_type(blob);
  if (type == "ssh-ed25519") return "ED25519";
  return type.starts_with("ecdsa-") ? "ECDSA" : type;
}

std::string quoted(const std::string& text) {
  return text.find_first_of("[]* ") == text.npos ? text : "'" + text + "'";
}

Error unknown_key(const SshConfig& config, const std::string& blob) {
  const std::string port = config.port == 22 ? "" : "-p " + std::to_string(config.port) + " ";
  return {ErrorKind::kRefused,
          "host key of " + known_name(config) + " is not known: it shows the " + kind_of(blob) + " key " +
              fingerprint(blob) + ". If that is right, run `ssh " + port + config.hostname +
              "` once and answer yes, or `ssh-keyscan " + port + config.hostname + " >> " +
              (config.user_known_hosts.empty() ? "~/.ssh/known_hosts" : config.user_known_hosts.front()) +
              "`, or set StrictHostKeyChecking=accept-new"};
}

Error changed_key(const SshConfig& config, const KnownKey& on_file, const std::string& blob) {
  return {ErrorKind::kRefused,
          "host key of " + known_name(config) + " has changed: it shows the " + kind_of(blob) + " key " +
              fingerprint(blob) + ", but " + on_file.where() + " holds the " + kind_of(on_file.blob) +
              " key " + fingerprint(on_file.blob) +
              ". Someone may be in between. If the host was reinstalled, run `ssh-keygen -f " +
              quoted(on_file.file) + " -R " + quoted(known_name(config)) + "`"};
}

Error file_error(const std::string& file, int error_number) {
  return {ErrorKind::kRefused, sys::errno_error("learn host key: " + file, error_number).message};
}

// Until the descriptor closes, dials in other threads and processes learn one after the other. Whoever can
// read the file can hold its lock: no reason to wait for ever, and one appended line does no harm.
void take_turn(int fd) {
  for (const TimePoint until = sys::now() + kTurnMax; ::flock(fd, LOCK_EX | LOCK_NB) != 0;) {
    if ((errno != EWOULDBLOCK && errno != EINTR) || sys::now() >= until) return;
    ::poll(nullptr, 0, kTurnPauseMs);
  }
}

Error other_than_seen(const SshConfig& config, const std::string& before, const std::string& blob) {
  return {ErrorKind::kRefused,
          "host key of " + known_name(config) + " has changed during this run: it shows the " +
              kind_of(blob) + " key " + fingerprint(blob) + ", but showed the " + kind_of(before) + " key " +
              fingerprint(before) +
              " before. Someone may be in between, or the name leads to another machine"};
}

std::vector<std::string> known_hosts_files(const SshConfig& config) {
  auto files = config.user_known_hosts;
  files.insert(files.end(), config.global_known_hosts.begin(), config.global_known_hosts.end());
  return files;
}

}  // namespace

std::string known_name(const SshConfig& config) {
  return known_hosts_name(config.hostname, config.port, config.host_key_alias);
}

std::string seen_key(const SshConfig& config, const SeenHostKeys* seen) {
  if (seen == nullptr) return "";
  const auto found = seen->blobs.find(known_name(config));
  return found == seen->blobs.end() ? "" : found->second;
}

std::string host_key_algorithms(const std::vector<KnownKey>& known, const std::string& seen) {
  const auto is_known = [&](std::string_view type) {
    if (!seen.empty() && key_type(seen) == type) return true;
    return std::any_of(known.begin(), known.end(),
                       [&](const auto& k) { return k.mark == KnownKeyMark::kNone && k.type == type; });
  };
  const bool any_pinned =
      std::any_of(known.begin(), known.end(), [](const auto& k) { return k.mark != KnownKeyMark::kRevoked; });
  std::string first, rest;
  for (const auto type : kAlgorithms) {
    auto& list = is_known(type) ? first : rest;
    list += (list.empty() ? "" : ",") + std::string(type);
  }
  if (first.empty()) return any_pinned ? "" : rest;
  // The others stay at the end: a host that dropped its old type is then told from one that can't talk.
  return rest.empty() ? first : first + "," + rest;
}

Result<void> check_host_key(const SshConfig& config, const std::vector<KnownKey>& known,
                            const std::string& offered_blob, SeenHostKeys* seen) {
  const auto decision = decide_host_key(known, offered_blob);
  switch (decision.verdict) {
    case KeyVerdict::kTrusted:
      return {};
    case KeyVerdict::kRevoked:
      return Error{ErrorKind::kRefused, "host key " + fingerprint(offered_blob) + " of " +
                                            known_name(config) + " is marked @revoked at " +
                                            decision.evidence.where()};
    case KeyVerdict::kChanged:
      return changed_key(config, decision.evidence, offered_blob);
    case KeyVerdict::kUnknown:
      break;
  }
  const std::string before = seen_key(config, seen);
  if (!before.empty() && before != offered_blob) return other_than_seen(config, before, offered_blob);
  if (!before.empty()) return {};
  if (config.strict == StrictChecking::kYes || config.strict == StrictChecking::kAsk)
    return unknown_key(config, offered_blob);
  return accept_new_key(config, offered_blob, seen);
}

Result<void> accept_new_key(const SshConfig& config, const std::string& blob, SeenHostKeys* seen) {
  const auto learned = learn_host_key(config, known_name(config), blob);
  // "no" promised to go on; a file that can't be written doesn't change that.
  if (!learned && config.strict != StrictChecking::kNo) return learned;
  if (seen == nullptr) return {};
  seen->blobs.insert_or_assign(known_name(config), blob);
  const auto kept = decide_host_key(read_known_keys(known_hosts_files(config), known_name(config)), blob);
  const bool is_kept = kept.verdict == KeyVerdict::kTrusted;
  if (is_kept && config.strict == StrictChecking::kAcceptNew) return {};
  seen->warnings.push_back(
      "WARNING: nobody vouches for the host key of " + known_name(config) + " (" + kind_of(blob) + " " +
      fingerprint(blob) + "): " +
      (config.strict == StrictChecking::kNo
           ? "StrictHostKeyChecking is off, so whoever answers there is given root's "
             "work"
           : "it could not be kept in a known_hosts file") +
      ". It holds for this run; " +
      (is_kept ? "from now on known_hosts has it" : "the next run would take any other one"));
  return {};
}

Result<void> learn_host_key(const SshConfig& config, const std::string& name, const std::string& blob) {
  if (config.user_known_hosts.empty())
    return Error{ErrorKind::kRefused, "learn host key: no UserKnownHostsFile is configured"};
  const std::string& file = config.user_known_hosts.front();
  const auto directory = std::filesystem::path(file).parent_path();
  if (!directory.empty() && ::mkdir(directory.c_str(), 0700) != 0 && errno != EEXIST)
    return file_error(directory.string(), errno);
  const sys::Fd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!fd.is_open()) return file_error(file, errno);
  take_turn(fd.get());
  const auto now_known = decide_host_key(read_known_keys({file}, name), blob);
  if (now_known.verdict == KeyVerdict::kTrusted) return {};
  if (now_known.verdict != KeyVerdict::kUnknown) return changed_key(config, now_known.evidence, blob);

  std::string salt;
  if (config.hash_known_hosts) {
    salt.resize(20);
    if (::getrandom(salt.data(), salt.size(), 0) != static_cast<ssize_t>(salt.size()))
      return file_error("getrandom", errno);
  }
  std::string line = known_hosts_line(name, blob, salt);
  const off_t size = ::lseek(fd.get(), 0, SEEK_END);
  char last = '\n';
  if (size > 0 && ::pread(fd.get(), &last, 1, size - 1) == 1 && last != '\n') line.insert(0, 1, '\n');
  if (::write(fd.get(), line.data(), line.size()) != static_cast<ssize_t>(line.size()))
    return file_error(file, errno);
  return {};
}

}  // namespace flurry::ssh
