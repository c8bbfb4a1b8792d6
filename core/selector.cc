#include "core/selector.h"

#include <algorithm>
#include <optional>

#include "core/spelling.h"

namespace flurry {
namespace {

constexpr size_t kTextMax = 16u << 10;
constexpr size_t kNestingMax = 64;  // the parser recurses
constexpr std::string_view kBlanks = " \t\r\n";
constexpr std::string_view kOperators = "!&,()";

bool is_blank(char c) { return kBlanks.find(c) != std::string_view::npos; }

bool has_wildcard(std::string_view pattern) { return pattern.find_first_of("*?[") != std::string_view::npos; }

// The class that starts at glob[at] == '['; `at` moves behind its ']'. A ']' that comes first is a
// member. No closing ']': the '[' stands for itself.
bool class_matches(std::string_view glob, size_t& at, char c) {
  const bool negated = at + 1 < glob.size() && (glob[at + 1] == '!' || glob[at + 1] == '^');
  const size_t first = at + (negated ? 2 : 1);
  const size_t close = first < glob.size() ? glob.find(']', first + 1) : std::string_view::npos;
  if (close == std::string_view::npos) {
    ++at;
    return c == '[';
  }
  bool found = false;
  for (size_t i = first; i < close; ++i) {
    const bool range = i + 2 < close && glob[i + 1] == '-';
    found = found || (range ? glob[i] <= c && c <= glob[i + 2] : glob[i] == c);
    if (range) i += 2;
  }
  at = close + 1;
  return found != negated;
}

}  // namespace

bool glob_matches(std::string_view glob, std::string_view text) {
  // Going back to the last star only is enough, and keeps it at size times size.
  size_t g = 0, t = 0;
  size_t star = std::string_view::npos, star_text = 0;
  while (t < text.size()) {
    size_t next = g;
    bool fits = false;
    if (g < glob.size() && glob[g] == '*') {
      star = g++;
      star_text = t;
      continue;
    }
    if (g < glob.size() && glob[g] == '[') {
      fits = class_matches(glob, next, text[t]);
    } else if (g < glob.size()) {
      fits = glob[g] == '?' || glob[g] == text[t];
      ++next;
    }
    if (fits) {
      g = next;
      ++t;
    } else if (star != std::string_view::npos) {
      g = star + 1;
      t = ++star_text;
    } else {
      return false;
    }
  }
  return glob.find_first_not_of('*', g) == std::string_view::npos;
}

// Recursive descent; each method reads one level of precedence and appends it in postfix.
class SelectorParser {
 public:
  explicit SelectorParser(std::string_view text) : text_(text) {}

  Result<Selector> parse() {
    if (text_.size() > kTextMax)
      return Error{ErrorKind::kInvalidInput, "selector: longer than " + std::to_string(kTextMax) + " bytes"};
    skip_blanks();
    if (at_ == text_.size()) return Error{ErrorKind::kInvalidInput, "selector: empty"};
    RETURN_IF_ERROR(parse_or(0));
    if (at_ < text_.size())
      return wrong(text_[at_] == ')' ? "')' without '('" : "expected ',' '&' or the end");
    selector_.text_ = std::string(text_);
    return std::move(selector_);
  }

 private:
  using Kind = Selector::Kind;

  Result<void> parse_or(size_t depth) {
    RETURN_IF_ERROR(parse_and(depth));
    while (take(',')) {
      RETURN_IF_ERROR(parse_and(depth));
      selector_.steps_.push_back({Kind::kOr, {}});
    }
    return {};
  }

  Result<void> parse_and(size_t depth) {
    RETURN_IF_ERROR(parse_not(depth));
    while (take('&')) {
      RETURN_IF_ERROR(parse_not(depth));
      selector_.steps_.push_back({Kind::kAnd, {}});
    }
    return {};
  }

  Result<void> parse_not(size_t depth) {
    bool negated = false;
    while (take('!')) negated = !negated;
    const size_t open = at_;
    if (take('(')) {
      if (depth == kNestingMax) return wrong("parentheses nested too deeply");
      RETURN_IF_ERROR(parse_or(depth + 1));
      if (!take(')'))
        return at_ == text_.size() ? wrong_at(open, "'(' without ')'") : wrong("expected ',' '&' or ')'");
    } else {
      RETURN_IF_ERROR(parse_term());
    }
    if (negated) selector_.steps_.push_back({Kind::kNot, {}});
    return {};
  }

  Result<void> parse_term() {
    const size_t start = at_;
    while (at_ < text_.size() && !is_blank(text_[at_]) && !ends_term()) ++at_;
    std::string pattern(text_.substr(start, at_ - start));
    if (pattern.empty()) return wrong("expected a name, a glob or @tag");
    const bool tag = pattern.front() == '@';
    if (tag) pattern.erase(0, 1);
    if (pattern.empty()) return wrong_at(start, "'@' without a tag");
    skip_blanks();
    selector_.steps_.push_back({tag ? Kind::kTag : Kind::kName, std::move(pattern)});
    return {};
  }

  // "[!a]" is a class: its '!' is no operator.
  bool ends_term() const {
    if (kOperators.find(text_[at_]) == std::string_view::npos) return false;
    return !(text_[at_] == '!' && at_ > 0 && text_[at_ - 1] == '[');
  }

  bool take(char c) {
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    skip_blanks();
    return true;
  }

  void skip_blanks() {
    while (at_ < text_.size() && is_blank(text_[at_])) ++at_;
  }

  Error wrong(const std::string& what) const { return wrong_at(at_, what); }

  Error wrong_at(size_t place, const std::string& what) const {
    constexpr size_t kShownBefore = 60;
    const size_t from = place > kShownBefore ? place - kShownBefore : 0;
    std::string shown;
    for (char c : text_.substr(from, 2 * kShownBefore)) shown += (c >= 0x20 && c < 0x7f) ? c : '?';
    return {ErrorKind::kInvalidInput, "selector: " + what + " at position " + std::to_string(place + 1) +
                                          "\n  " + shown + "\n  " + std::string(place - from, ' ') + "^"};
  }

  std::string_view text_;
  size_t at_ = 0;
  Selector selector_;
};

Result<Selector> Selector::parse(std::string_view text) { return SelectorParser(text).parse(); }

namespace {

using Marks = std::vector<char>;  // one a host

constexpr const char* kWayOut = " (flurry hosts lists all)";

Error nobody_has(const char* what, const std::string& word, const std::vector<std::string>& known) {
  const std::string nearest = did_you_mean(word, known);
  return {ErrorKind::kInvalidInput, std::string("selector: no host ") + what + " " + quote(word) +
                                        (nearest.empty() ? kWayOut : nearest)};
}

// HOST of "HOST.PROFILE", as deploy-rs names one profile of a host; none: it is something else.
std::optional<size_t> host_of_profile(const std::string& pattern, const Fleet& fleet) {
  const size_t dot = pattern.rfind('.');
  if (dot == std::string::npos || dot + 1 == pattern.size() || has_wildcard(pattern)) return std::nullopt;
  std::optional<size_t> found;
  for (size_t i = 0; i < fleet.hosts.size(); ++i) {
    const std::string& name = fleet.hosts[i].name.str();
    if (name == pattern) return std::nullopt;
    if (name == pattern.substr(0, dot)) found = i;
  }
  return found;
}

Result<Marks> match_names(const std::string& pattern, const Fleet& fleet) {
  Marks marks;
  for (const auto& host : fleet.hosts) marks.push_back(glob_matches(pattern, host.name.str()));
  if (has_wildcard(pattern) || std::count(marks.begin(), marks.end(), 1) > 0) return marks;
  if (const auto host = host_of_profile(pattern, fleet)) {
    marks[*host] = 1;
    return marks;
  }
  const auto& unusable = fleet.unusable_names;
  if (std::find(unusable.begin(), unusable.end(), pattern) != unusable.end())
    return Error{ErrorKind::kInvalidInput,
                 "selector: " + HostName::parse(pattern).error().message + ": give the entry another name"};
  std::vector<std::string> names;
  std::vector<std::string> tags;
  for (const auto& host : fleet.hosts) {
    names.push_back(host.name.str());
    tags.insert(tags.end(), host.tags.begin(), host.tags.end());
  }
  if (std::find(tags.begin(), tags.end(), pattern) != tags.end())
    return Error{ErrorKind::kInvalidInput, "selector: no host is named " + quote(pattern) +
                                               ", but it is a tag: write '@" + pattern + "'"};
  return nobody_has("is named", pattern, names);
}

Result<Marks> match_tags(const std::string& pattern, const Fleet& fleet) {
  Marks marks;
  std::vector<std::string> tags;
  for (const auto& host : fleet.hosts) {
    tags.insert(tags.end(), host.tags.begin(), host.tags.end());
    marks.push_back(std::any_of(host.tags.begin(), host.tags.end(),
                                [&](const std::string& tag) { return glob_matches(pattern, tag); }));
  }
  if (has_wildcard(pattern) || std::count(marks.begin(), marks.end(), 1) > 0) return marks;
  return nobody_has("has the tag", pattern, tags);
}

}  // namespace

std::vector<Selector::OneProfile> Selector::profiles(const Fleet& fleet) const {
  std::vector<OneProfile> out;
  for (const auto& step : steps_) {
    if (step.kind != Kind::kName) continue;
    if (const auto host = host_of_profile(step.pattern, fleet))
      out.push_back({*host, step.pattern.substr(step.pattern.rfind('.') + 1)});
  }
  return out;
}

bool Selector::has_tags() const {
  return std::any_of(steps_.begin(), steps_.end(), [](const Step& step) { return step.kind == Kind::kTag; });
}

Result<std::vector<size_t>> Selector::select(const Fleet& fleet) const {
  std::vector<Marks> stack;
  for (const auto& step : steps_) {
    if (step.kind == Kind::kName || step.kind == Kind::kTag) {
      ASSIGN_OR_RETURN(auto marks, step.kind == Kind::kName ? match_names(step.pattern, fleet)
                                                            : match_tags(step.pattern, fleet));
      stack.push_back(std::move(marks));
      continue;
    }
    Marks right = std::move(stack.back());
    if (step.kind == Kind::kNot) {
      for (char& mark : right) mark = !mark;
    } else {
      stack.pop_back();
      for (size_t i = 0; i < right.size(); ++i)
        right[i] = step.kind == Kind::kAnd ? right[i] && stack.back()[i] : right[i] || stack.back()[i];
    }
    stack.back() = std::move(right);
  }
  std::vector<size_t> chosen;
  for (size_t i = 0; i < fleet.hosts.size(); ++i)
    if (stack.back()[i]) chosen.push_back(i);
  if (chosen.empty())
    return Error{ErrorKind::kInvalidInput, "selector: " + quote(text_) + " matches no host" + kWayOut};
  return chosen;
}

}  // namespace flurry
