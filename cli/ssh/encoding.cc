#include "cli/ssh/encoding.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/sha.h>

#include <array>

namespace flurry::ssh {
namespace {

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

}  // namespace

std::string base64_encode(std::string_view bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');  // OpenSSL writes a zero behind
  const int n = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes_of(bytes),
                                static_cast<int>(bytes.size()));
  out.resize(static_cast<size_t>(n));
  return out;
}

std::optional<std::string> base64_decode(std::string_view text) {
  constexpr size_t kTextMax = 1 << 20;
  if (text.empty() || text.size() % 4 != 0 || text.size() > kTextMax) return std::nullopt;
  size_t padding = text.ends_with("==") ? 2 : text.ends_with('=') ? 1 : 0;
  constexpr std::string_view kAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  if (text.substr(0, text.size() - padding).find_first_not_of(kAlphabet) != text.npos) return std::nullopt;
  std::string out(text.size() / 4 * 3, '\0');
  if (EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes_of(text),
                      static_cast<int>(text.size())) < 0)
    return std::nullopt;
  out.resize(out.size() - padding);
  return out;
}

std::string fingerprint(std::string_view key_blob) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest;
  SHA256(bytes_of(key_blob), key_blob.size(), digest.data());
  auto text = base64_encode({reinterpret_cast<const char*>(digest.data()), digest.size()});
  while (text.ends_with('=')) text.pop_back();
  return "SHA256:" + text;
}

std::string hmac_sha1(std::string_view key, std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest;
  unsigned int size = 0;
  HMAC(EVP_sha1(), key.data(), static_cast<int>(key.size()), bytes_of(text), text.size(), digest.data(),
       &size);
  return {reinterpret_cast<const char*>(digest.data()), size};
}

void put_u32(std::string& out, uint32_t value) {
  for (int shift : {24, 16, 8, 0}) out += static_cast<char>(value >> shift & 0xff);
}

void put_string(std::string& out, std::string_view bytes) {
  put_u32(out, static_cast<uint32_t>(bytes.size()));
  out += bytes;
}

std::optional<uint32_t> take_u32(std::string_view& in) {
  if (in.size() < 4) return std::nullopt;
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(in[static_cast<size_t>(i)]);
  in.remove_prefix(4);
  return value;
}

std::optional<std::string_view> take_string(std::string_view& in) {
  const auto size = take_u32(in);
  if (!size || *size > in.size()) return std::nullopt;
  const auto taken = in.substr(0, *size);
  in.remove_prefix(*size);
  return taken;
}

std::string key_type(std::string_view key_blob) {
  const auto type = take_string(key_blob);
  return type && type->size() < 128 ? std::string(*type) : std::string();
}

}  // namespace flurry::ssh
