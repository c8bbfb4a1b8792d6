#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/names.h"

namespace flurry::nix {

// What a store knows about one of its paths.
struct PathInfo {
  StorePath path;
  std::string nar_hash;               // SHA-256 of the NAR, 64 lower-case hex digits
  uint64_t nar_size = 0;              // bytes
  std::vector<StorePath> references;  // may hold the path itself
  std::optional<StorePath> deriver;
  std::vector<std::string> signatures;  // "keyname:base64"
  std::string content_address;          // empty for an input-addressed path
  bool is_ultimate = false;             // built here, not copied
};

}  // namespace flurry::nix
