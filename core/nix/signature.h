#pragma once

#include <array>
#include <span>
#include <string>
#include <string_view>

#include "core/nix/path_info.h"
#include "core/result.h"

namespace flurry::nix {

// Signatures of store paths: Ed25519 over a text that names path, NAR hash, size and references (Nix:
// src/libstore/path-info.cc, ValidPathInfo::fingerprint). Any thread.

std::string fingerprint(const PathInfo& info);

// "name:base64", as in `trusted-public-keys`.
class PublicKey {
 public:
  // kInvalidInput.
  static Result<PublicKey> parse(std::string_view text);

  const std::string& name() const { return name_; }
  // Whether `signature` ("name:base64") is of this name and right for the path.
  bool verifies(const PathInfo& info, std::string_view signature) const;

 private:
  std::string name_;
  std::array<unsigned char, 32> bytes_{};
};

// Whether one of the path's signatures is by one of the keys.
bool is_signed(const PathInfo& info, std::span<const PublicKey> keys);

}  // namespace flurry::nix
