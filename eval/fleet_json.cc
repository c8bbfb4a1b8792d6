#include "eval/fleet_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "core/selector.h"
#include "eval/host_json.h"
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

Result<void> check_count(size_t hosts, const std::string& place, const char* example) {
  if (hosts == 0) return wrong(place, std::string("names no host: add ") + example);
  if (hosts > kHostsMax) return wrong(place, "has more than " + std::to_string(kHostsMax) + " hosts");
  return {};
}

using Indexes = std::unordered_map<std::string, size_t>;

Result<Indexes> resolve_requires(const Fleet& fleet) {
  Indexes indexes;
  std::vector<std::string> names;
  for (const auto& host : fleet.hosts) {
    indexes.emplace(host.name.str(), names.size());
    names.push_back(host.name.str());
  }
  for (const auto& host : fleet.hosts) {
    const std::string place = place_of("flurry.hosts", host.name.str()) + ".requires";
    for (const auto& needed : host.requires_hosts)
      if (!indexes.contains(needed.str()))
        return wrong(place, "no host is named " + quote(needed.str()) + did_you_mean(needed.str(), names) +
                                ": add it to flurry.hosts, or take it out here");
  }
  return indexes;
}

// Takes away hosts whose needs are all taken away; what stays is in a cycle or waits for one.
Result<void> check_cycles(const Fleet& fleet, const Indexes& indexes) {
  std::vector<size_t> waits_for(fleet.hosts.size());
  std::vector<std::vector<size_t>> needed_by(fleet.hosts.size());
  std::vector<size_t> ready;
  for (size_t i = 0; i < fleet.hosts.size(); ++i) {
    for (const auto& needed : fleet.hosts[i].requires_hosts) needed_by[indexes.at(needed.str())].push_back(i);
    waits_for[i] = fleet.hosts[i].requires_hosts.size();
    if (waits_for[i] == 0) ready.push_back(i);
  }
  for (size_t next = 0; next < ready.size(); ++next)
    for (size_t waiting : needed_by[ready[next]])
      if (--waits_for[waiting] == 0) ready.push_back(waiting);
  if (ready.size() == fleet.hosts.size()) return {};
  const size_t stuck = static_cast<size_t>(
      std::find_if(waits_for.begin(), waits_for.end(), [](size_t n) { return n > 0; }) - waits_for.begin());
  return wrong(place_of("flurry.hosts", fleet.hosts[stuck].name.str()) + ".requires",
               "leads round in a circle: no host could be the first");
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

Result<Fleet> parse_fleet_json(std::string_view json) {
  ASSIGN_OR_RETURN(const Json root, parse_json(json, kRoot));
  Parts parts;
  RETURN_IF_ERROR(read_fields<Parts>(root, kRoot, kFleetFields, parts));
  if (parts.hosts.is_null()) return wrong("flurry.hosts", "is missing: add hosts.NAME = { }");
  RETURN_IF_ERROR(check_count(parts.hosts.size(), "flurry.hosts", "hosts.NAME = { }"));

  // Its name stands for nobody's; each host begins as a copy.
  HostConfig defaults{.name = *HostName::parse("defaults")};
  RETURN_IF_ERROR(read_host(parts.defaults, "flurry.defaults", defaults));
  Fleet fleet;
  fleet.hosts.reserve(parts.hosts.size());
  for (auto it = parts.hosts.begin(); it != parts.hosts.end(); ++it) {
    const std::string place = place_of("flurry.hosts", it.key());
    auto name = HostName::parse(it.key());
    if (!name) return wrong(place, name.error().message);
    HostConfig host = defaults;
    host.name = *std::move(name);
    RETURN_IF_ERROR(read_host(it.value(), place, host));
    RETURN_IF_ERROR(finish_host(place, host));
    fleet.hosts.push_back(std::move(host));
  }
  RETURN_IF_ERROR(read_rollout(parts.rollout, "flurry.rollout", fleet.rollout));
  ASSIGN_OR_RETURN(const auto indexes, resolve_requires(fleet));
  RETURN_IF_ERROR(check_cycles(fleet, indexes));
  RETURN_IF_ERROR(check_selectors(fleet));
  RETURN_IF_ERROR(refuse_unsupported(fleet));
  return fleet;
}

Result<Fleet> parse_names_json(std::string_view json) {
  ASSIGN_OR_RETURN(const Json root, parse_json(json, "nixosConfigurations"));
  if (!root.is_array()) return wrong_type("nixosConfigurations", "an attribute set", root);
  RETURN_IF_ERROR(check_count(root.size(), "nixosConfigurations", "NAME = nixpkgs.lib.nixosSystem { ... }"));
  Fleet fleet;
  fleet.schema = FleetSchema::kNixosConfigurations;
  for (const auto& entry : root) {
    if (!entry.is_string()) return wrong_type("nixosConfigurations", "a list of names", entry);
    auto name = HostName::parse(entry.get_ref<const std::string&>());
    if (!name) return wrong("nixosConfigurations", name.error().message);
    if (!fleet.hosts.empty() && *name <= fleet.hosts.back().name)
      return wrong("nixosConfigurations", quote(name->str()) + " is out of order, or there twice");
    HostConfig host{.name = *std::move(name)};
    RETURN_IF_ERROR(finish_host("nixosConfigurations", host));
    fleet.hosts.push_back(std::move(host));
  }
  return fleet;
}

}  // namespace flurry::eval
