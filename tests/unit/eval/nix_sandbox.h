#pragma once

#include <string>

#include "eval/evaluator.h"

namespace flurry::eval {

// A store, a home and a cache for real Nix that are nobody else's: the process gets a mount namespace
// of its own in which /nix is a temporary directory. Made on first use, one for all tests.
class NixSandbox {
 public:
  // Null, and `why_not` set, where that isn't possible (no nix, not root).
  static NixSandbox* get(std::string& why_not);
  ~NixSandbox();

  // Writes DIR/flake.nix with these outputs ("hosts = ...;", `mk NAME SCRIPT` makes a derivation) and
  // returns DIR.
  std::string flake(const std::string& outputs);
  // Writes this text as flake.nix.
  std::string raw_flake(const std::string& text);

  EvalOptions options() const;

 private:
  explicit NixSandbox(std::string root) : root_(std::move(root)) {}

  std::string root_;
  int flakes_ = 0;
};

}  // namespace flurry::eval
