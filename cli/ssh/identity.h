#pragma once

#include <string>
#include <string_view>

namespace flurry::ssh {

// What a private key file is, as far as it tells without a passphrase.
struct KeyFile {
  std::string type;  // "ssh-ed25519", or empty when the file does not tell
  bool is_encrypted = false;
  std::string public_blob;  // from the file itself or the .pub beside it; empty when neither has it
};

// Pure part: looks at the text of a key file.
KeyFile inspect_key_text(std::string_view text);

// Reads `path` and `path`.pub. A file that can't be read is an empty KeyFile. Any thread.
KeyFile inspect_key_file(const std::string& path);

// True for the types whose signatures libssh2 1.10 makes as today's sshd wants them: not RSA (only
// SHA-1 there), not security keys, not certificates.
bool is_usable_type(std::string_view type);

}  // namespace flurry::ssh
