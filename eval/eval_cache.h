#pragma once

#include <map>
#include <optional>
#include <set>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/fleet.h"
#include "core/names.h"
#include "core/result.h"
#include "core/time.h"
#include "eval/eval_place.h"
#include "eval/evaluator.h"

namespace flurry::eval {

// What a clean flake's hosts were evaluated to, kept in a file for each set of all that decides it: the
// locked flake, its inputs, Nix's version, and every setting that Nix has. Without a lock (a changed work
// tree), or with impure evaluation, there is no cache. `--option eval-cache false` turns it off, as it does
// Nix's own. Torn and hostile files read as empty ones; two controllers may write at a time, and one's news
// is lost. One thread.
class EvalCache {
 public:
  // No cache: one that knows nothing and keeps nothing.
  EvalCache() = default;

  // The cache for this fleet, or none. Asks Nix for its version and its settings.
  static EvalCache open(const Fleet& fleet, const EvalOptions& options, TimePoint deadline,
                        std::stop_token stop);

  bool is_on() const { return !file_.empty(); }

  // What it says is only worth something as long as the derivation is in the store.
  std::optional<DerivationPaths> find(const HostName& host, const std::string& profile) const;
  void add(const HostName& host, const std::string& profile, const DerivationPaths& paths);

  // Writes what was added, in one step, and takes away files that nobody has used for long. A cache that
  // can't be written is none: no error.
  void save();

 private:
  using Key = std::pair<std::string, std::string>;  // host, profile
  using Entries = std::map<Key, DerivationPaths>;

  static Entries read(const std::string& file);

  std::string file_;
  Entries entries_;
  bool is_changed_ = false;
};

// The part of `nix show-config --json` that may change what a flake evaluates to, as one text; nothing where
// it isn't what Nix writes, or where evaluation isn't pure.
std::optional<std::string> settings_text(std::string_view json);

}  // namespace flurry::eval
