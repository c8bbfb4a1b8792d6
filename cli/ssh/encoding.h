#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace flurry::ssh {

// Pure helpers for the encodings of SSH's files and protocols. Any thread.

std::string base64_encode(std::string_view bytes);
// Strict: no spaces, right padding; nullopt otherwise.
std::optional<std::string> base64_decode(std::string_view text);

// "SHA256:Sd3…" of a public key blob, as OpenSSH prints it.
std::string fingerprint(std::string_view key_blob);
std::string hmac_sha1(std::string_view key, std::string_view text);

// Appends a four-byte big-endian number, or a string with its length in front.
void put_u32(std::string& out, uint32_t value);
void put_string(std::string& out, std::string_view bytes);

// Takes from the front of `in`; nullopt when there is too little.
std::optional<uint32_t> take_u32(std::string_view& in);
std::optional<std::string_view> take_string(std::string_view& in);

// The type that a public key blob names itself ("ssh-ed25519"); empty when it is no such blob.
std::string key_type(std::string_view key_blob);

}  // namespace flurry::ssh
