#include "cli/copy/signing_key.h"

#include <fcntl.h>
#include <openssl/evp.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "core/check.h"
#include "core/nix/signature.h"
#include "core/sys/clock.h"
#include "core/sys/fd.h"

namespace flurry::copy {
namespace {

constexpr size_t kSignatureSize = 64;
constexpr size_t kSecretSize = 64;  // seed and public key
constexpr size_t kFileMax = 4096;
constexpr Millis kReadTimeout{5000};

struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

}  // namespace

Result<SigningKey> SigningKey::load(const std::string& file) {
  const sys::Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd.is_open()) {
    Error error = sys::errno_error("the signing key " + file, errno);
    error.kind = ErrorKind::kInvalidInput;
    return error;
  }
  std::string text(kFileMax, '\0');
  ASSIGN_OR_RETURN(const size_t size, sys::read_some(fd.get(), text, sys::now() + kReadTimeout));
  text.resize(size);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  const Error bad{ErrorKind::kInvalidInput,
                  file +
                      " is no secret key of a binary cache (NAME:BASE64); "
                      "`nix-store --generate-binary-cache-key NAME SECRET PUBLIC` makes one"};
  const size_t colon = text.find(':');
  if (colon == std::string::npos || colon == 0) return bad;
  const std::string encoded = text.substr(colon + 1);
  // 64 bytes are 88 characters, of which the last two are padding.
  if (encoded.size() != 88 || !encoded.ends_with("==") || encoded.ends_with("===")) return bad;
  std::array<unsigned char, 66> decoded{};
  const int n = EVP_DecodeBlock(decoded.data(), reinterpret_cast<const unsigned char*>(encoded.data()),
                                static_cast<int>(encoded.size()));
  if (n != static_cast<int>(decoded.size())) return bad;
  SigningKey key;
  key.name_ = text.substr(0, colon);
  std::copy_n(decoded.begin(), key.seed_.size(), key.seed_.begin());
  const std::unique_ptr<EVP_PKEY, FreeKey> pair(
      EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, key.seed_.data(), key.seed_.size()));
  std::array<unsigned char, kSecretSize / 2> public_half{};
  size_t public_size = public_half.size();
  if (!pair || EVP_PKEY_get_raw_public_key(pair.get(), public_half.data(), &public_size) != 1 ||
      !std::equal(public_half.begin(), public_half.end(), decoded.begin() + 32))
    return bad;
  return key;
}

std::string SigningKey::sign(const nix::PathInfo& info) const {
  const std::string text = nix::fingerprint(info);
  const std::unique_ptr<EVP_PKEY, FreeKey> key(
      EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, seed_.data(), seed_.size()));
  const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
  std::array<unsigned char, kSignatureSize> signature{};
  size_t size = signature.size();
  FLURRY_CHECK(key && context &&
               EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
               EVP_DigestSign(context.get(), signature.data(), &size,
                              reinterpret_cast<const unsigned char*>(text.data()), text.size()) == 1);
  std::array<unsigned char, 89> encoded{};  // with a zero at its end
  EVP_EncodeBlock(encoded.data(), signature.data(), static_cast<int>(size));
  return name_ + ":" + reinterpret_cast<const char*>(encoded.data());
}

void SigningKey::add_to(nix::PathInfo& info) const {
  // The same key makes the same signature; another one of the same name is no good here.
  const std::string signature = sign(info);
  if (std::find(info.signatures.begin(), info.signatures.end(), signature) == info.signatures.end())
    info.signatures.push_back(signature);
}

}  // namespace flurry::copy
