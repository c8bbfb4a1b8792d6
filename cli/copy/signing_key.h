#pragma once

#include <array>
#include <string>

#include "core/nix/path_info.h"
#include "core/result.h"

namespace flurry::copy {

// A secret key of a binary cache, as `nix-store --generate-binary-cache-key` writes it: "NAME:" and the
// base64 of an ed25519 seed and its public key. Any thread.
class SigningKey {
 public:
  // kInvalidInput where the file holds none; the message never quotes what it holds.
  static Result<SigningKey> load(const std::string& file);

  // The signature that Nix checks (signature.h): "NAME:base64".
  std::string sign(const nix::PathInfo& info) const;

  // sign(), where this key's signature isn't there yet.
  void add_to(nix::PathInfo& info) const;

 private:
  SigningKey() = default;

  std::string name_;
  std::array<unsigned char, 32> seed_{};
};

}  // namespace flurry::copy
