#include "eval/fleet_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "core/selector.h"
#include "eval/host_json.h"
#include "eval/hosts_json.h"
#include "eval/json_reader.h"
#include "eval/not_supported.h"

namespace flurry::eval {
namespace {

constexpr const char* kRoot = "flurry";

// The attributes as they came; hosts can be read only when defaults are known.
struct Parts {
  Json defaults = Json::object();
  Json hosts;
  Json rollout = Json::object();
};

template <auto Member>
Result<void> keep(const Json& value, const std::string& place, Parts& into) {
  RETURN_IF_ERROR(expect_object(value, place));
  into.*Member = value;
  return {};
}

constexpr Field<Parts> kFleetFields[] = {
    {"defaults", keep<&Parts::defaults>}, {"hosts", keep<&Parts::hosts>}, {"rollout", keep<&Parts::rollout>}};

const HostsPlace kHostsPlace{.set = "flurry.hosts", .example = "hosts.NAME = { }"};
const HostsPlace kNamesPlace{.set = "nixosConfigurations",
                             .example = "NAME = nixpkgs.lib.nixosSystem { ... }"};

void add_error(HostConfig& host, Error error) {
  if (!host.error) host.error = std::move(error);
}

void check_required_names(Fleet& fleet, const std::vector<std::string>& names) {
  for (auto& host : fleet.hosts)
    for (const auto& needed : host.requires_hosts)
      if (!std::binary_search(names.begin(), names.end(), needed.str()))
        add_error(host, wrong(place_of(kHostsPlace.set, host.name.str()) + ".requires",
                              "no host is named " + quote(needed.str()) + did_you_mean(needed.str(), names) +
                                  ": add it to flurry.hosts, or take it out here"));
}

// Takes away hosts whose needs are all taken away; what stays is in a cycle or waits for one.
void check_cycles(Fleet& fleet) {
  std::unordered_map<std::string, size_t> indexes;
  for (size_t i = 0; i < fleet.hosts.size(); ++i) indexes.emplace(fleet.hosts[i].name.str(), i);
  std::vector<size_t> waits_for(fleet.hosts.size());
  std::vector<std::vector<size_t>> needed_by(fleet.hosts.size());
  std::vector<size_t> ready;
  for (size_t i = 0; i < fleet.hosts.size(); ++i) {
    for (const auto& needed : fleet.hosts[i].requires_hosts)
      if (const auto it = indexes.find(needed.str()); it != indexes.end()) {
        needed_by[it->second].push_back(i);
        ++waits_for[i];
      }
    if (waits_for[i] == 0) ready.push_back(i);
  }
  for (size_t next = 0; next < ready.size(); ++next)
    for (size_t waiting : needed_by[ready[next]])
      if (--waits_for[waiting] == 0) ready.push_back(waiting);
  for (size_t i = 0; i < fleet.hosts.size(); ++i)
    if (waits_for[i] > 0)
      add_error(fleet.hosts[i], wrong(place_of(kHostsPlace.set, fleet.hosts[i].name.str()) + ".requires",
                                      "leads round in a circle: no host could be the first"));
}

// A selector of the rollout that names nobody is found before anything is evaluated.
Result<void> check_selectors(const Fleet& fleet) {
  std::vector<std::string> texts = fleet.rollout.order;
  if (!fleet.rollout.canary.empty()) texts.push_back(fleet.rollout.canary);
  for (const auto& text : texts) {
    ASSIGN_OR_RETURN(const auto selector, Selector::parse(text));
    const auto hosts = selector.select(fleet);
    if (!hosts) return hosts.error().with_context("flurry.rollout");
  }
  return {};
}

}  // namespace

Result<Fleet> parse_fleet_json(std::string_view json, const Reading& reading) {
  ASSIGN_OR_RETURN(const Json root, parse_json(json, kRoot));
  Parts parts;
  Mistakes mistakes;
  mistakes.add(read_fields<Parts>(root, kRoot, kFleetFields, parts));
  if (mistakes.empty() && parts.hosts.is_null())
    return wrong(kHostsPlace.set, "is missing: add " + kHostsPlace.example);

  // Its name stands for nobody's; each host begins as a copy.
  HostConfig defaults{.name = *HostName::parse("defaults")};
  mistakes.add(read_host(parts.defaults, "flurry.defaults", defaults));
  for (auto& [name, profile] : defaults.profiles) profile.is_default_path = profile.has_path;
  Fleet fleet;
  mistakes.add(read_rollout(parts.rollout, "flurry.rollout", fleet.rollout));
  const auto read = [](const std::string& place, const Json& value, HostConfig& host) -> Result<void> {
    RETURN_IF_ERROR(read_host(value, place, host));
    return finish_host(place, host);
  };
  if (!parts.hosts.is_null())
    mistakes.add(read_hosts(parts.hosts, kHostsPlace, defaults, reading, read, fleet));
  // All at once: who mends what is everybody's will want to know of the rest.
  if (!mistakes.empty())
    for (const auto& host : fleet.hosts)
      if (host.error) mistakes.add(*host.error);
  RETURN_IF_ERROR(mistakes.result());
  std::vector<std::string> names = reading.names;
  if (names.empty())
    for (const auto& host : fleet.hosts) names.push_back(host.name.str());
  check_required_names(fleet, names);
  check_cycles(fleet);
  RETURN_IF_ERROR(check_selectors(fleet));
  RETURN_IF_ERROR(refuse_unsupported(fleet));
  return fleet;
}

Result<Fleet> parse_names_json(std::string_view json) {
  ASSIGN_OR_RETURN(const Json root, parse_json(json, kNamesPlace.set));
  if (!root.is_array()) return wrong_type(kNamesPlace.set, "an attribute set", root);
  RETURN_IF_ERROR(check_count(root.size(), kNamesPlace));
  Fleet fleet;
  fleet.schema = FleetSchema::kNixosConfigurations;
  for (const auto& entry : root) {
    if (!entry.is_string()) return wrong_type(kNamesPlace.set, "a list of names", entry);
    auto name = host_name(entry.get_ref<const std::string&>(), kNamesPlace.set, fleet);
    if (!name) continue;
    if (!fleet.hosts.empty() && *name <= fleet.hosts.back().name)
      return wrong(kNamesPlace.set, quote(name->str()) + " is out of order, or there twice");
    HostConfig host{.name = *std::move(name)};
    RETURN_IF_ERROR(finish_host(kNamesPlace.set, host));
    fleet.hosts.push_back(std::move(host));
  }
  RETURN_IF_ERROR(check_names(fleet, kNamesPlace.set));
  return fleet;
}

}  // namespace flurry::eval
