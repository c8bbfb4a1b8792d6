#include "agent/probe_arguments.h"

#include <charconv>
#include <system_error>

namespace flurry::agent {
namespace {

constexpr int kTimeoutMaxMs = 24 * 3600 * 1000;

std::optional<int> parse_number(std::string_view text, int low, int high) {
  int number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size() || number < low || number > high)
    return std::nullopt;
  return number;
}

// False: no such option, or not such a value.
bool take_option(std::string_view name, const std::string& value, ProbeArguments& into) {
  if (name == "--method") {
    into.http.method = value;
  } else if (name == "--status") {
    const auto status = parse_number(value, 100, 599);
    if (!status) return false;
    into.http.status.push_back(static_cast<uint16_t>(*status));
  } else if (name == "--timeout-ms") {
    const auto timeout = parse_number(value, 1, kTimeoutMaxMs);
    if (!timeout) return false;
    into.timeout_ms = *timeout;
  } else {
    return false;
  }
  return true;
}

}  // namespace

std::optional<ProbeArguments> parse_probe_arguments(const std::vector<std::string>& words) {
  ProbeArguments out;
  for (size_t i = 1; i < words.size(); ++i) {
    const auto& word = words[i];
    if (word == "--") {
      out.rest.assign(words.begin() + static_cast<long>(i) + 1, words.end());
      break;
    }
    if (word == "--insecure-tls") {
      out.http.insecure_tls = true;
      continue;
    }
    if (i + 1 == words.size() || !take_option(word, words[i + 1], out)) return std::nullopt;
    ++i;
  }
  return out;
}

Result<Url> parse_url(std::string_view text) {
  Url out;
  if (text.starts_with("https://"))
    out.is_tls = true;
  else if (!text.starts_with("http://"))
    return Error{ErrorKind::kInvalidInput, "the URL does not start with http:// or https://"};
  text.remove_prefix(out.is_tls ? 8 : 7);
  text = text.substr(0, text.find('#'));
  const size_t path = text.find_first_of("/?");
  std::string_view authority = text.substr(0, path);
  out.target = path == std::string_view::npos ? "/" : std::string(text.substr(path));
  if (out.target.front() == '?') out.target = "/" + out.target;
  if (const size_t at = authority.rfind('@'); at != std::string_view::npos) authority.remove_prefix(at + 1);
  out.port = out.is_tls ? "443" : "80";
  size_t colon = authority.rfind(':');
  if (authority.starts_with('[')) {
    const size_t bracket = authority.find(']');
    if (bracket == std::string_view::npos)
      return Error{ErrorKind::kInvalidInput, "the URL's host has no ']'"};
    out.host = authority.substr(1, bracket - 1);
    if (colon != std::string_view::npos && colon < bracket) colon = std::string_view::npos;
  } else {
    out.host = authority.substr(0, colon);
  }
  if (colon != std::string_view::npos) out.port = authority.substr(colon + 1);
  if (out.host.empty()) return Error{ErrorKind::kInvalidInput, "the URL names no host"};
  if (!parse_number(out.port, 1, 65535))
    return Error{ErrorKind::kInvalidInput, "the URL's port must be 1 to 65535"};
  return out;
}

}  // namespace flurry::agent
