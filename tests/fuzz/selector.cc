// A selector and its negation part the fleet; an error's caret stands within the text that it shows.
#include "core/selector.h"

#include "tests/fuzz/fuzz.h"

namespace flurry::fuzz {
namespace {

Fleet make_fleet() {
  Fleet fleet;
  const std::pair<const char*, std::vector<std::string>> hosts[] = {
      {"db-1", {"db", "eu"}}, {"web-01", {"canary", "eu", "web"}}, {"web-02", {"us", "web"}}, {"x.y", {}}};
  for (const auto& [name, tags] : hosts) {
    HostConfig host{.name = *HostName::parse(name)};
    host.tags = tags;
    fleet.hosts.push_back(std::move(host));
  }
  return fleet;
}

// Message, text, caret; nothing else has lines.
void check_place(const Error& error, std::string_view text) {
  check_told(error, text.size());
  const std::string& message = error.message;
  const size_t first = message.find('\n');
  if (first == std::string::npos) return;
  const size_t second = message.find('\n', first + 1);
  FLURRY_CHECK(second != std::string::npos && message.find('\n', second + 1) == std::string::npos);
  const size_t shown = second - first - 1;
  const size_t caret = message.size() - second - 1;
  FLURRY_CHECK(message.ends_with('^') && caret <= shown + 1);
  const size_t place = std::stoul(message.substr(message.rfind(' ', first) + 1));
  FLURRY_CHECK(place >= 1 && place <= text.size() + 1);
}

}  // namespace

void run_one(std::string_view text) {
  static const Fleet fleet = make_fleet();
  const auto selector = Selector::parse(text);
  if (!selector) return check_place(selector.error(), text);
  FLURRY_CHECK(selector->text() == text);
  const auto chosen = selector->select(fleet);
  if (!chosen) check_told(chosen.error(), text.size());
  const auto negated = Selector::parse("!(" + std::string(text) + ")");
  if (!negated) return;  // too long or too deep now
  const auto others = negated->select(fleet);
  FLURRY_CHECK(chosen || others || chosen.error().message.find("matches no host") == std::string::npos);
  if (!chosen) return;
  std::vector<int> times(fleet.hosts.size());
  for (const size_t i : *chosen) ++times.at(i);
  if (others)
    for (const size_t i : *others) ++times.at(i);
  for (const int n : times) FLURRY_CHECK(n == 1);
}

}  // namespace flurry::fuzz
