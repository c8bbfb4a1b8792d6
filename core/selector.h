#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "core/fleet.h"
#include "core/result.h"

namespace flurry {

// Which hosts of a fleet, as `--on` says it: names and globs (`*` `?` `[abc]` `[a-z]` `[!abc]`),
// `@tag` globs, `!` not, `&` and, `,` or, parentheses. `!` binds tightest, `,` loosest; blanks
// around operators don't matter. A superset of colmena's.
class Selector {
 public:
  // kInvalidInput; the message's second and third line are the text and a caret below the place.
  static Result<Selector> parse(std::string_view text);

  // Indexes into fleet.hosts, ascending. kInvalidInput when a name or tag without wildcard is
  // nobody's (with the nearest spelling), and when nobody is left.
  Result<std::vector<size_t>> select(const Fleet& fleet) const;

  // The terms "HOST.PROFILE" that aren't a host's name themselves: they stand for HOST.
  struct OneProfile {
    size_t host;  // index into fleet.hosts
    std::string profile;
  };
  std::vector<OneProfile> profiles(const Fleet& fleet) const;

  // Whether tags decide.
  bool has_tags() const;

  const std::string& text() const { return text_; }

 private:
  friend class SelectorParser;
  enum class Kind { kName, kTag, kNot, kAnd, kOr };
  struct Step {
    Kind kind;
    std::string pattern;  // of kName and kTag
  };
  Selector() = default;

  std::string text_;
  std::vector<Step> steps_;  // postfix: operands before their operator
};

// True when `text` matches the glob as a whole. '*' crosses dots and dashes.
bool glob_matches(std::string_view glob, std::string_view text);

}  // namespace flurry
