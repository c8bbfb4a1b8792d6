#include "eval/hosts_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace flurry::eval {
namespace {

// Who is selected can't be told without them.
Result<void> check_tags(const std::string& place, const Json& json) {
  if (!json.is_object() || !json.contains("tags") || is_unset(json["tags"])) return {};
  const auto tags = read_texts(json["tags"], place + ".tags");
  if (!tags) return tags.error();
  return {};
}

}  // namespace

std::optional<HostName> host_name(const std::string& name, const std::string& set, Fleet& fleet) {
  auto parsed = HostName::parse(name);
  if (parsed) return *std::move(parsed);
  fleet.unusable_names.push_back(name);
  fleet.notes.push_back(place_of(set, name) + ": left out: " + parsed.error().message);
  return std::nullopt;
}

Result<void> check_count(size_t entries, const HostsPlace& place) {
  if (entries == 0) return wrong(place.set, "names no host: add " + place.example);
  if (entries > kHostsMax) return wrong(place.set, "has more than " + std::to_string(kHostsMax) + " hosts");
  return {};
}

Result<void> check_names(const Fleet& fleet, const std::string& set) {
  if (!fleet.hosts.empty() || fleet.unusable_names.empty()) return {};
  const std::string& name = fleet.unusable_names.front();
  return wrong(place_of(set, name), HostName::parse(name).error().message);
}

Result<void> read_hosts(const Json& hosts, const HostsPlace& place, const HostConfig& defaults,
                        const Reading& reading, const HostReader& read, Fleet& fleet) {
  RETURN_IF_ERROR(check_count(std::max(hosts.size(), reading.names.size()), place));
  Mistakes mistakes;
  for (auto it = hosts.begin(); it != hosts.end(); ++it) {
    auto name = host_name(it.key(), place.set, fleet);
    if (!name) continue;
    const std::string here = place_of(place.set, it.key()) + place.settings;
    HostConfig host = defaults;
    host.name = *std::move(name);
    if (const auto whole = read(here, it.value(), host); !whole) host.error = whole.error();
    if (const auto unread = reading.unread.find(it.key()); unread != reading.unread.end())
      host.error = unread->second.with_context(place_of(place.set, it.key()));
    if (host.error && reading.needs_tags) mistakes.add(check_tags(here, it.value()));
    fleet.hosts.push_back(std::move(host));
  }
  RETURN_IF_ERROR(check_names(fleet, place.set));
  return mistakes.result();
}

}  // namespace flurry::eval
