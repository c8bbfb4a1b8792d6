#include "core/nix/signature.h"

#include <openssl/evp.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <vector>

namespace flurry::nix {
namespace {

constexpr size_t kSignatureSize = 64;
constexpr size_t kKeyNameMax = 255;

struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

int hex_value(char c) { return c <= '9' ? c - '0' : c - 'a' + 10; }

// Nix's base 32 of a SHA-256 in hex digits (Nix: src/libutil/hash.cc): from the last bits to the first.
std::string nix_base32(const std::string& hex) {
  constexpr std::string_view kDigits = "0123456789abcdfghijklmnpqrsvwxyz";
  const auto byte = [&hex](size_t i) {
    return i < hex.size() / 2 ? static_cast<unsigned>(hex_value(hex[2 * i]) * 16 + hex_value(hex[2 * i + 1]))
                              : 0u;
  };
  const size_t length = (hex.size() * 4 + 4) / 5;
  std::string out;
  for (size_t n = length; n-- > 0;) {
    const size_t bit = n * 5;
    const unsigned both = byte(bit / 8) | byte(bit / 8 + 1) << 8;
    out += kDigits[both >> bit % 8 & 31];
  }
  return out;
}

struct Named {
  std::string_view name;
  std::vector<unsigned char> bytes;
};

// "name:base64" of exactly `size` bytes.
std::optional<Named> decode(std::string_view text, size_t size) {
  const size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0 || colon > kKeyNameMax) return std::nullopt;
  const std::string_view encoded = text.substr(colon + 1);
  const size_t padding = (3 - size % 3) % 3;
  if (encoded.size() != (size + 2) / 3 * 4) return std::nullopt;
  const std::string_view digits = encoded.substr(0, encoded.size() - padding);
  if (digits.find('=') != std::string_view::npos ||
      encoded.substr(digits.size()).find_first_not_of('=') != std::string_view::npos)
    return std::nullopt;
  std::vector<unsigned char> bytes(encoded.size() / 4 * 3);
  const int n = EVP_DecodeBlock(bytes.data(), reinterpret_cast<const unsigned char*>(encoded.data()),
                                static_cast<int>(encoded.size()));
  if (n != static_cast<int>(bytes.size())) return std::nullopt;
  bytes.resize(size);
  return Named{text.substr(0, colon), std::move(bytes)};
}

}  // namespace

std::string fingerprint(const PathInfo& info) {
  std::vector<std::string> references;
  for (const auto& path : info.references) references.push_back(path.str());
  std::sort(references.begin(), references.end());
  std::string out = "1;" + info.path.str() + ";sha256:" + nix_base32(info.nar_hash) + ";" +
                    std::to_string(info.nar_size) + ";";
  for (const auto& reference : references) {
    if (out.back() != ';') out += ',';
    out += reference;
  }
  return out;
}

Result<PublicKey> PublicKey::parse(std::string_view text) {
  PublicKey key;
  const auto named = decode(text, key.bytes_.size());
  if (!named)
    return Error{ErrorKind::kInvalidInput, "'" + std::string(text.substr(0, kKeyNameMax)) +
                                               "' is no public key of a binary cache (NAME:BASE64)"};
  key.name_ = named->name;
  std::copy(named->bytes.begin(), named->bytes.end(), key.bytes_.begin());
  return key;
}

bool PublicKey::verifies(const PathInfo& info, std::string_view signature) const {
  const auto named = decode(signature, kSignatureSize);
  if (!named || named->name != name_) return false;
  const std::string text = fingerprint(info);
  const std::unique_ptr<EVP_PKEY, FreeKey> key(
      EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, bytes_.data(), bytes_.size()));
  const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
  return key && context && EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
         EVP_DigestVerify(context.get(), named->bytes.data(), named->bytes.size(),
                          reinterpret_cast<const unsigned char*>(text.data()), text.size()) == 1;
}

bool is_signed(const PathInfo& info, std::span<const PublicKey> keys) {
  return std::any_of(keys.begin(), keys.end(), [&](const PublicKey& key) {
    return std::any_of(info.signatures.begin(), info.signatures.end(),
                       [&](const std::string& signature) { return key.verifies(info, signature); });
  });
}

}  // namespace flurry::nix
