// A flake's words: what is accepted keeps every bound that the rest relies on, and a policy that the flake
// may have is one that the agent takes as it is.
#include "eval/fleet_json.h"

#include <algorithm>

#include "core/profile.h"
#include "core/selector.h"
#include "core/wire/convert.h"
#include "eval/colmena_json.h"
#include "eval/deploy_rs_json.h"
#include "flurry/v1/journal.pb.h"
#include "tests/fuzz/fuzz.h"

namespace flurry::fuzz {
namespace {

void check_policy(const HealthPolicy& policy) {
  v1::HealthPolicy message;
  wire::to_proto(policy, message);
  std::string bytes;
  FLURRY_CHECK(message.SerializeToString(&bytes));
  v1::HealthPolicy received;
  FLURRY_CHECK(received.ParseFromString(bytes));
  const auto read = wire::from_proto(received);
  if (!read) std::fprintf(stderr, "the agent refuses: %s\n", read.error().message.c_str());
  // On the wire stands how long it is, said or not.
  HealthPolicy said = policy;
  said.min_healthy = policy.healthy_for();
  FLURRY_CHECK(read && *read == said);
}

void check_fleet(const Fleet& fleet, size_t size) {
  FLURRY_CHECK(!fleet.hosts.empty() && fleet.hosts.size() <= kHostsMax);
  FLURRY_CHECK(!fleet.rollout.batches.empty());
  for (size_t i = 0; i < fleet.hosts.size(); ++i) {
    const HostConfig& host = fleet.hosts[i];
    FLURRY_CHECK(i == 0 || fleet.hosts[i - 1].name < host.name);
    if (host.error) {
      check_told(*host.error, size);
      continue;
    }
    FLURRY_CHECK((!host.target_hosts.empty() || fleet.schema == FleetSchema::kColmena) &&
                 !host.profiles.empty());
    for (const auto& profile : ordered_profiles(host)) {
      v1::ProfileRef message;
      wire::to_proto(profile, message);
      FLURRY_CHECK(wire::from_proto(message));
    }
    for (const auto& address : host.target_hosts)
      FLURRY_CHECK(address.front() != '-' && address.find(' ') == std::string::npos);
    FLURRY_CHECK(std::is_sorted(host.tags.begin(), host.tags.end()));
    for (const auto& needed : host.requires_hosts)
      FLURRY_CHECK(needed != host.name && std::any_of(fleet.hosts.begin(), fleet.hosts.end(),
                                                      [&](const auto& h) { return h.name == needed; }));
    FLURRY_CHECK(host.confirm_timeout >= Millis(1000) && host.activation_timeout >= Millis(1000));
    check_policy(host.health);
  }
}

}  // namespace

void run_one(std::string_view bytes) {
  // A list is the names of nixosConfigurations; what has nodes and a schema is colmena's, with nodes alone
  // deploy-rs's, anything else the output `flurry`.
  const auto has = [&](std::string_view text) { return bytes.find(text) != std::string_view::npos; };
  const auto fleet = bytes.starts_with('[')                  ? eval::parse_names_json(bytes)
                     : has("\"nodes\"") && has("\"schema\"") ? eval::parse_colmena_json(bytes)
                     : has("\"nodes\"")                      ? eval::parse_deploy_rs_json(bytes)
                                                             : eval::parse_fleet_json(bytes);
  if (!fleet) return check_told(fleet.error(), bytes.size());
  check_fleet(*fleet, bytes.size());
}

}  // namespace flurry::fuzz
