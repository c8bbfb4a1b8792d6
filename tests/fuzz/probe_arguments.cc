// The words of a probe and its URL: where it dials is what the URL says.
#include "agent/probe_arguments.h"

#include <charconv>
#include <system_error>

#include "tests/fuzz/fuzz.h"

namespace flurry::fuzz {
namespace {

void check_url(std::string_view text) {
  const auto url = agent::parse_url(text);
  if (!url) return check_told(url.error(), text.size());
  FLURRY_CHECK(!url->host.empty() && url->target.starts_with('/'));
  FLURRY_CHECK(url->host.size() + url->target.size() <= text.size() + 1);
  FLURRY_CHECK(url->host.find_first_of("/?#@") == std::string::npos);
  unsigned port = 0;
  const auto [end, error] = std::from_chars(url->port.data(), url->port.data() + url->port.size(), port);
  FLURRY_CHECK(error == std::errc() && end == url->port.data() + url->port.size());
  FLURRY_CHECK(port >= 1 && port <= 65535);
}

void check_words(std::string_view lines) {
  std::vector<std::string> words;
  while (!lines.empty()) {
    const auto word = lines.substr(0, lines.find('\n'));
    words.emplace_back(word);
    lines.remove_prefix(std::min(word.size() + 1, lines.size()));
  }
  const auto parsed = agent::parse_probe_arguments(words);
  if (!parsed) return;
  FLURRY_CHECK(parsed->timeout_ms >= 1 && parsed->rest.size() < words.size());
  for (const uint16_t status : parsed->http.status) FLURRY_CHECK(status >= 100 && status <= 599);
}

}  // namespace

void run_one(std::string_view bytes) {
  if (bytes.find('\n') == std::string_view::npos)
    check_url(bytes);
  else
    check_words(bytes);
}

}  // namespace flurry::fuzz
