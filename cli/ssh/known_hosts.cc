#include "cli/ssh/known_hosts.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <optional>
#include <utility>

#include "cli/ssh/encoding.h"

namespace flurry::ssh {
namespace {

constexpr std::string_view kSpace = " \t\r";

std::string_view take_word(std::string_view& rest) {
  rest.remove_prefix(std::min(rest.find_first_not_of(kSpace), rest.size()));
  const auto word = rest.substr(0, rest.find_first_of(kSpace));
  rest.remove_prefix(word.size());
  return word;
}

bool wildcard_match(std::string_view pattern, std::string_view text) {
  // Greedy with one point to come back to: linear enough for hostile patterns.
  size_t p = 0, t = 0, star = pattern.npos, resume = 0;
  while (t < text.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = t;
    } else if (p < pattern.size() &&
               (pattern[p] == '?' || std::tolower(static_cast<unsigned char>(pattern[p])) ==
                                         std::tolower(static_cast<unsigned char>(text[t])))) {
      ++p;
      ++t;
    } else if (star != pattern.npos) {
      p = star + 1;
      t = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool hashed_match(std::string_view field, const std::string& name) {
  field.remove_prefix(3);  // "|1|"
  const auto bar = field.find('|');
  if (bar == field.npos) return false;
  const auto salt = base64_decode(field.substr(0, bar));
  const auto hash = base64_decode(field.substr(bar + 1));
  return salt && hash && hmac_sha1(*salt, name) == *hash;
}

bool name_matches(std::string_view field, const std::string& name) {
  if (field.starts_with("|1|")) return hashed_match(field, name);
  bool matched = false;
  while (!field.empty()) {
    auto pattern = field.substr(0, field.find(','));
    field.remove_prefix(std::min(pattern.size() + 1, field.size()));
    const bool negated = pattern.starts_with('!');
    if (negated) pattern.remove_prefix(1);
    if (!wildcard_match(pattern, name)) continue;
    if (negated) return false;
    matched = true;
  }
  return matched;
}

std::optional<KnownKey> parse_line(std::string_view line, const std::string& name) {
  KnownKey key;
  auto word = take_word(line);
  if (word.empty() || word.front() == '#') return std::nullopt;
  if (word.front() == '@') {
    if (word == "@revoked")
      key.mark = KnownKeyMark::kRevoked;
    else if (word == "@cert-authority")
      key.mark = KnownKeyMark::kCertAuthority;
    else
      return std::nullopt;
    word = take_word(line);
  }
  if (!name_matches(word, name)) return std::nullopt;
  key.type = take_word(line);
  auto blob = base64_decode(take_word(line));
  if (!blob || key_type(*blob) != key.type) return std::nullopt;
  key.blob = std::move(*blob);
  return key;
}

}  // namespace

std::string known_hosts_name(const std::string& host, uint16_t port, const std::string& alias) {
  std::string name = alias.empty() ? host : alias;
  std::transform(name.begin(), name.end(), name.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (port == 22 || !alias.empty()) return name;
  return "[" + name + "]:" + std::to_string(port);
}

std::vector<KnownKey> find_known_keys(std::string_view text, const std::string& file,
                                      const std::string& name) {
  std::vector<KnownKey> found;
  for (int number = 1; !text.empty(); ++number) {
    const auto line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(line.size() + 1, text.size()));
    auto key = parse_line(line, name);
    if (!key) continue;
    key->file = file;
    key->line = number;
    found.push_back(std::move(*key));
  }
  return found;
}

std::vector<KnownKey> read_known_keys(const std::vector<std::string>& files, const std::string& name) {
  std::vector<KnownKey> found;
  for (const auto& file : files) {
    std::ifstream in(file, std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
    for (auto& key : find_known_keys(text, file, name)) found.push_back(std::move(key));
  }
  return found;
}

KeyDecision decide_host_key(const std::vector<KnownKey>& known, std::string_view offered_blob) {
  KeyDecision decision;
  for (const auto& key : known)
    if (key.mark == KnownKeyMark::kRevoked && key.blob == offered_blob) return {KeyVerdict::kRevoked, key};
  for (const auto& key : known) {
    if (key.mark != KnownKeyMark::kNone) continue;
    if (key.blob == offered_blob) return {KeyVerdict::kTrusted, key};
    const bool first = decision.verdict == KeyVerdict::kUnknown;
    if (first || (key.type == key_type(offered_blob) && decision.evidence.type != key.type))
      decision = {KeyVerdict::kChanged, key};
  }
  return decision;
}

std::string known_hosts_line(const std::string& name, std::string_view key_blob, std::string_view salt) {
  const std::string shown =
      salt.empty() ? name : "|1|" + base64_encode(salt) + "|" + base64_encode(hmac_sha1(salt, name));
  return shown + " " + key_type(key_blob) + " " + base64_encode(key_blob) + "\n";
}

}  // namespace flurry::ssh
