#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace flurry::ssh {

// What libssh2 1.10 does of SSH's algorithms, as comma-separated lists, and what a connection may use of it.

// Fastest first of what libssh2 and sshd share (measured with AES and SHA instructions).
inline constexpr std::string_view kCiphers = "aes128-ctr,aes192-ctr,aes256-ctr";
inline constexpr std::string_view kMacs = "hmac-sha2-256,hmac-sha2-512,hmac-sha1";
inline constexpr std::string_view kKeyExchanges =
    "curve25519-sha256,curve25519-sha256@libssh.org,ecdh-sha2-nistp256,ecdh-sha2-nistp384,"
    "ecdh-sha2-nistp521,diffie-hellman-group-exchange-sha256,diffie-hellman-group16-sha512,"
    "diffie-hellman-group18-sha512,diffie-hellman-group14-sha256";
// Its "ssh-rsa" is the SHA-1 signature that OpenSSH has refused since 8.8, so a host with only an RSA key on
// file is left to the ssh program.
inline constexpr std::string_view kHostKeys =
    "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521";

// What one connection may use. Empty lists are never offered: whoever finds one goes by the ssh program.
struct Algorithms {
  std::string host_keys{kHostKeys};
  std::string ciphers{kCiphers};
  std::string macs{kMacs};
  std::string key_exchanges{kKeyExchanges};
};

// Pure helpers for such lists.
bool has_algorithm(std::string_view list, std::string_view name);
// Those of `ours` that `allowed` has too, in the order of `ours`.
std::string common_algorithms(std::string_view ours, std::string_view allowed);
std::vector<std::string> split_algorithms(std::string_view list);

}  // namespace flurry::ssh
