#pragma once

#include <compare>
#include <string>
#include <string_view>

#include "core/result.h"

namespace flurry {

// A host's name in the flake. Checked: 1-253 bytes of [A-Za-z0-9._-], not starting with '-' or '.',
// so it can stand in a command line, a file name and a unit name.
class HostName {
 public:
  static Result<HostName> parse(std::string_view text);
  const std::string& str() const { return text_; }
  auto operator<=>(const HostName&) const = default;

 private:
  explicit HostName(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

// A top-level path of the Nix store: /nix/store/<32 nix-base32>-<name>, name of 1-211 bytes of
// [A-Za-z0-9+._?=-] not starting with '.'. Nothing below it, no trailing slash.
class StorePath {
 public:
  static Result<StorePath> parse(std::string_view text);
  const std::string& str() const { return text_; }
  // The part after the hash: "nixos-system-web-01-24.11".
  std::string_view name() const;
  // The 32 characters of the hash.
  std::string_view hash_part() const;
  auto operator<=>(const StorePath&) const = default;

 private:
  explicit StorePath(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

// One run of the controller: a ULID (26 characters of Crockford base32, upper case; sorts by time).
class DeploymentId {
 public:
  static Result<DeploymentId> parse(std::string_view text);
  // `unix_ms` are 48 bits of wall time, `entropy` 10 random bytes.
  static DeploymentId make(unsigned long long unix_ms, const unsigned char (&entropy)[10]);
  const std::string& str() const { return text_; }
  auto operator<=>(const DeploymentId&) const = default;

 private:
  explicit DeploymentId(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

}  // namespace flurry
