#include "cli/ssh/identity.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include "cli/ssh/encoding.h"

namespace flurry::ssh {
namespace {

constexpr std::string_view kOpensshBegin = "-----BEGIN OPENSSH PRIVATE KEY-----";
constexpr size_t kFileMax = 64 << 10;

std::string read_file(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::string text(kFileMax, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(std::max<std::streamsize>(in.gcount(), 0)));
  return text;
}

// "openssh-key-v1\0", cipher, kdf, kdf options, count, public key, …
KeyFile inspect_openssh(std::string_view text) {
  std::string packed;
  text.remove_prefix(text.find(kOpensshBegin) + kOpensshBegin.size());
  text = text.substr(0, text.find("-----END"));
  std::copy_if(text.begin(), text.end(), std::back_inserter(packed),
               [](char c) { return c != '\n' && c != '\r'; });
  const auto bytes = base64_decode(packed);
  constexpr std::string_view kMagic("openssh-key-v1\0", 15);
  KeyFile key;
  if (!bytes || !bytes->starts_with(kMagic)) return key;
  std::string_view rest = std::string_view(*bytes).substr(kMagic.size());
  const auto cipher = take_string(rest);
  const auto kdf = take_string(rest);
  const auto options = take_string(rest);
  const auto count = take_u32(rest);
  const auto public_key = take_string(rest);
  if (!cipher || !kdf || !options || !count || !public_key) return key;
  key.is_encrypted = *cipher != "none";
  key.public_blob = *public_key;
  key.type = key_type(*public_key);
  return key;
}

}  // namespace

KeyFile inspect_key_text(std::string_view text) {
  if (text.find(kOpensshBegin) != text.npos) return inspect_openssh(text);
  KeyFile key;
  key.is_encrypted = text.find("ENCRYPTED") != text.npos;
  if (text.find("-----BEGIN RSA PRIVATE KEY-----") != text.npos) key.type = "ssh-rsa";
  if (text.find("-----BEGIN DSA PRIVATE KEY-----") != text.npos) key.type = "ssh-dss";
  return key;
}

KeyFile inspect_key_file(const std::string& path) {
  KeyFile key = inspect_key_text(read_file(path));
  if (!key.public_blob.empty()) return key;
  // The file may itself be a public key (then the agent holds the private one).
  for (const auto& file : {path, path + ".pub"}) {
    std::istringstream words(read_file(file));
    std::string type, blob;
    words >> type >> blob;
    const auto bytes = base64_decode(blob);
    if (!bytes || key_type(*bytes) != type) continue;
    key.public_blob = *bytes;
    key.type = type;
    break;
  }
  return key;
}

bool is_usable_type(std::string_view type) {
  return type == "ssh-ed25519" || type == "ecdsa-sha2-nistp256" || type == "ecdsa-sha2-nistp384" ||
         type == "ecdsa-sha2-nistp521";
}

}  // namespace flurry::ssh
