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
#include "cli/ssh/host_key_errors.h"
#include "core/sys/clock.h"
#include "core/sys/fd.h"

namespace flurry::ssh {
namespace {

constexpr uint16_t kSshPort = 22;
constexpr Millis kTurnMax{2'000};
constexpr int kTurnPauseMs = 20;

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

std::string host_key_algorithms(const std::vector<KnownKey>& known, const std::string& seen,
                                std::string_view allowed) {
  const auto is_known = [&](std::string_view type) {
    if (!seen.empty() && key_type(seen) == type) return true;
    return std::any_of(known.begin(), known.end(),
                       [&](const auto& k) { return k.mark == KnownKeyMark::kNone && k.type == type; });
  };
  const bool any_pinned =
      std::any_of(known.begin(), known.end(), [](const auto& k) { return k.mark != KnownKeyMark::kRevoked; });
  std::string first, rest;
  for (const auto& type : split_algorithms(allowed)) {
    auto& list = is_known(type) ? first : rest;
    list += (list.empty() ? "" : ",") + type;
  }
  if (first.empty()) return any_pinned ? "" : rest;
  // The others stay at the end: a host that dropped its old type is then told from one that can't talk.
  return rest.empty() ? first : first + "," + rest;
}

KnownKeys keys_on_file(const SshConfig& config) {
  const auto files = known_hosts_files(config);
  KnownKeys known;
  known.own = read_known_keys(files, known_name(config));
  if (known.own.empty() && config.port != kSshPort && config.host_key_alias.empty())
    known.without_port = read_known_keys(files, known_hosts_name(config.hostname, kSshPort, ""));
  return known;
}

Result<void> check_host_key(const SshConfig& config, const KnownKeys& known, const std::string& offered_blob,
                            SeenHostKeys* seen) {
  auto decision = decide_host_key(known.own, offered_blob);
  if (decision.verdict == KeyVerdict::kUnknown) {
    // Another key under the plain name is another server's, on another port.
    const auto plain = decide_host_key(known.without_port, offered_blob);
    if (plain.verdict != KeyVerdict::kChanged) decision = plain;
  }
  switch (decision.verdict) {
    case KeyVerdict::kTrusted:
      return {};
    case KeyVerdict::kRevoked:
      return revoked_key(known_name(config), decision.evidence, offered_blob);
    case KeyVerdict::kChanged:
      return changed_key(config, decision.evidence, shown_key(offered_blob));
    case KeyVerdict::kUnknown:
      break;
  }
  const std::string before = seen_key(config, seen);
  if (!before.empty() && before != offered_blob) return other_than_seen(config, before, offered_blob);
  if (!before.empty()) return {};
  if (config.strict == StrictChecking::kYes || config.strict == StrictChecking::kAsk)
    return unknown_key(config, shown_key(offered_blob));
  return accept_new_key(config, offered_blob, seen);
}

Result<void> accept_new_key(const SshConfig& config, const std::string& blob, SeenHostKeys* seen) {
  // Whoever revokes a host's key need not think of its port. ssh itself would take it here.
  const std::string plain = known_hosts_name(config.hostname, kSshPort, config.host_key_alias);
  const auto by_plain = decide_host_key(read_known_keys(known_hosts_files(config), plain), blob);
  if (by_plain.verdict == KeyVerdict::kRevoked) return revoked_key(plain, by_plain.evidence, blob);
  const auto learned = learn_host_key(config, known_name(config), blob);
  // "no" promised to go on; a file that can't be written doesn't change that.
  if (!learned && config.strict != StrictChecking::kNo) return learned;
  if (seen == nullptr) return {};
  seen->blobs.insert_or_assign(known_name(config), blob);
  const auto kept = decide_host_key(read_known_keys(known_hosts_files(config), known_name(config)), blob);
  const bool is_kept = kept.verdict == KeyVerdict::kTrusted;
  if (is_kept && config.strict == StrictChecking::kAcceptNew) return {};
  seen->warnings.push_back(
      "WARNING: nobody vouches for the host key of " + known_name(config) + " (" + shown_key(blob) + "): " +
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
  if (now_known.verdict != KeyVerdict::kUnknown)
    return changed_key(config, now_known.evidence, shown_key(blob));

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
