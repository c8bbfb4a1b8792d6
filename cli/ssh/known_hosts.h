#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace flurry::ssh {

enum class KnownKeyMark { kNone, kRevoked, kCertAuthority };

// One line of a known_hosts file that speaks of the host in question.
struct KnownKey {
  KnownKeyMark mark = KnownKeyMark::kNone;
  std::string type;  // "ssh-ed25519"
  std::string blob;
  std::string file;
  int line = 0;

  std::string where() const { return file + ":" + std::to_string(line); }
};

// How known_hosts names a host: "web", "[web]:2222"; an alias stands for itself.
std::string known_hosts_name(const std::string& host, uint16_t port, const std::string& alias);

// The lines of `text` that match `name`: hashed names, wildcards and negation included. A line that
// can't be read is passed over, as OpenSSH does. Pure.
std::vector<KnownKey> find_known_keys(std::string_view text, const std::string& file,
                                      const std::string& name);

// The same over files; those that are absent hold nothing. Any thread.
std::vector<KnownKey> read_known_keys(const std::vector<std::string>& files, const std::string& name);

enum class KeyVerdict { kTrusted, kUnknown, kChanged, kRevoked };

struct KeyDecision {
  KeyVerdict verdict = KeyVerdict::kUnknown;
  KnownKey evidence;  // the line that decided, unless kUnknown
};

// A host with keys on file that offers another one has changed, also when the type is new: an
// attacker may choose the type. Pure.
KeyDecision decide_host_key(const std::vector<KnownKey>& known, std::string_view offered_blob);

// A line for `name`, hashed with 20 bytes of `salt` unless that is empty. Pure.
std::string known_hosts_line(const std::string& name, std::string_view key_blob, std::string_view salt);

}  // namespace flurry::ssh
