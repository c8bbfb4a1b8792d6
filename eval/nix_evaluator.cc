#include "eval/nix_evaluator.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/spelling.h"
#include "eval/colmena_json.h"
#include "eval/deploy_rs_json.h"
#include "eval/flake_reader.h"
#include "eval/fleet_json.h"
#include "eval/json_reader.h"

namespace flurry::eval {
namespace {

// Everything but the values of profiles.*.path, which may be whole systems: `true` stands for them.
const std::string kProfiles = R"(let
  inherit (builtins) isAttrs mapAttrs removeAttrs;
  profile = p: if isAttrs p && p ? path then removeAttrs p [ "path" ] // { path = true; } else p;
  host = h: if isAttrs h && h ? profiles && isAttrs h.profiles && !(h.profiles ? outPath)
    then h // { profiles = mapAttrs (_: profile) h.profiles; } else h;
in )";

const FleetOutput kOwn{.name = "flurry",
                       .looks = "builtins.isAttrs x && !(x ? outPath) && x ? hosts",
                       .common = "f: " + kProfiles + R"(if !isAttrs f then f else f
  // (if f ? defaults then { defaults = host f.defaults; } else { })
  // (if f ? hosts && isAttrs f.hosts then { hosts = mapAttrs (_: _: null) f.hosts; } else { }))",
                       .hosts = "hosts",
                       .host = {"flurry.hosts", "(" + kProfiles + R"(builtins.toJSON (
  if n == "tags" then (if isAttrs f.${h} && f.${h} ? tags then { inherit (f.${h}) tags; } else { })
  else host f.${h})))"},
                       .has_tags = true,
                       .is_heavy = false};

const FleetOutput kDeployRs{.name = "deploy",
                            .looks = "builtins.isAttrs x && x ? nodes",
                            .common = deploy_rs_expression(),
                            .hosts = "nodes",
                            .host = deploy_rs_node(),
                            .has_tags = false,
                            .is_heavy = false};

const FleetOutput kColmena{.name = "colmenaHive",
                           .looks = "x ? deploymentConfig",
                           .common = colmena_expression(),
                           .hosts = "nodes",
                           .host = colmena_node(),
                           .has_tags = true,
                           .is_heavy = true};

const FleetOutput kNames{.name = "nixosConfigurations",
                         .looks = "true",
                         .common = "c: if builtins.isAttrs c then builtins.attrNames c else c",
                         .hosts = "",
                         .host = {},
                         .has_tags = false,
                         .is_heavy = false};

Error bad_flake(const Fleet& source, const std::string& what) {
  return {ErrorKind::kInvalidInput, "flake " + quote(source.flake_ref) + " " + what};
}

Fleet with_source(Fleet fleet, const Fleet& source) {
  fleet.flake_ref = source.flake_ref;
  fleet.eval_ref = source.eval_ref;
  fleet.lock = source.lock;
  fleet.revision = source.revision;
  return fleet;
}

bool takes_its_system_by_name(const HostConfig& host) {
  const auto system = host.profiles.find(std::string(kSystemProfile));
  return system != host.profiles.end() && !system->second.has_path;
}

// A host without a path of its own is a nixosConfiguration of its name.
Result<void> check_systems(Fleet& fleet, const Probe& names_json) {
  std::vector<std::string> names;
  if (names_json) {
    ASSIGN_OR_RETURN(const Json root, parse_json(*names_json, kNames.name));
    if (!root.is_array()) return wrong_type(kNames.name, "an attribute set", root);
    for (const auto& name : root) names.push_back(name.is_string() ? name.get<std::string>() : "");
  }
  for (auto& host : fleet.hosts) {
    const std::string& name = host.name.str();
    if (host.error || !takes_its_system_by_name(host) || std::binary_search(names.begin(), names.end(), name))
      continue;
    // A machine that is not NixOS, with users' profiles only; but a name that is nearly one is misspelt.
    if (host.profiles.size() > 1 && did_you_mean(name, names).empty()) {
      host.profiles.erase(std::string(kSystemProfile));
      continue;
    }
    host.error = wrong(place_of("flurry.hosts", name), "no nixosConfigurations has this name" +
                                                           did_you_mean(name, names) +
                                                           "; name it so, or set profiles.system.path");
  }
  return {};
}

Result<Fleet> only(Fleet fleet, const Selector* wanted) {
  if (wanted == nullptr) return fleet;
  ASSIGN_OR_RETURN(const auto chosen, wanted->select(fleet));
  std::vector<HostConfig> hosts;
  for (const size_t index : chosen) hosts.push_back(std::move(fleet.hosts[index]));
  fleet.hosts = std::move(hosts);
  return fleet;
}

using Parse = Result<Fleet> (*)(std::string_view json, const Reading& reading);

// The hosts that are wanted of what probe() found.
Result<Fleet> fleet_from(const FlakeReader& reader, const FleetOutput& output, const Result<Probe>& probe,
                         const Selector* wanted, Parse parse) {
  if (!probe) return probe.error();
  if (!*probe) return bad_flake(reader.source(), std::string("has no output '") + output.name + "'");
  ASSIGN_OR_RETURN(Json root, parse_json(**probe, output.name));
  const auto rollout = root.is_object() ? root.find("rollout") : root.end();
  const bool by_tags = rollout != root.end() && rollout->dump().find('@') != std::string::npos;
  ASSIGN_OR_RETURN(const Reading reading, reader.read(output, wanted, by_tags, root));
  ASSIGN_OR_RETURN(auto fleet, parse(root.dump(), reading));
  fleet = with_source(std::move(fleet), reader.source());
  return reading.is_selected ? fleet : only(std::move(fleet), wanted);
}

Result<Fleet> fleet_from_output(const FlakeReader& reader, const Result<Probe>& own, const Selector* wanted,
                                const Result<Probe>& names) {
  ASSIGN_OR_RETURN(auto fleet, fleet_from(reader, kOwn, own, wanted, parse_fleet_json));
  const bool needs_names = std::any_of(fleet.hosts.begin(), fleet.hosts.end(), takes_its_system_by_name);
  if (needs_names && !names) return names.error();
  if (needs_names) RETURN_IF_ERROR(check_systems(fleet, *names));
  return fleet;
}

Result<Fleet> fleet_from_names(const FlakeReader& reader, const Result<Probe>& names,
                               const Selector* wanted) {
  if (!names) return names.error();
  if (!*names)
    return bad_flake(
        reader.source(),
        "has none of the outputs 'flurry', 'deploy', 'colmenaHive' and 'nixosConfigurations': add one");
  ASSIGN_OR_RETURN(auto fleet, parse_names_json(**names));
  return only(with_source(std::move(fleet), reader.source()), wanted);
}

// The raw hive needs colmena's own code to become one.
Result<void> refuse_raw_hive(const FlakeReader& reader) {
  const auto raw = reader.probe("colmena", "!(x ? outPath)", "_: true");
  if (!raw && raw.error().kind != ErrorKind::kFailed) return raw.error();
  if (raw && !*raw) return {};
  return Error{
      ErrorKind::kUnsupported,
      "flake " + quote(reader.source().flake_ref) +
          " has the output 'colmena', a hive that only colmena itself can complete: add colmenaHive = "
          "colmena.lib.makeHive self.outputs.colmena, or give --schema nixos to deploy its "
          "nixosConfigurations by their names"};
}

Result<Fleet> read_fleet(const FlakeReader& reader, std::optional<FleetSchema> schema,
                         const Selector* wanted) {
  using Schema = FleetSchema;
  const auto probe = [&reader](const FleetOutput& output) {
    return reader.probe(output.name, output.looks, output.common);
  };
  if (schema == Schema::kNixosConfigurations) return fleet_from_names(reader, probe(kNames), wanted);
  if (schema == Schema::kDeployRs)
    return fleet_from(reader, kDeployRs, probe(kDeployRs), wanted, parse_deploy_rs_json);
  if (schema == Schema::kColmena)
    return fleet_from(reader, kColmena, probe(kColmena), wanted, parse_colmena_json);

  const auto [own, names] = reader.probe_both(kOwn, kNames);
  if (schema == Schema::kFlurry || !own || *own) return fleet_from_output(reader, own, wanted, names);
  const auto [deploy, hive] = reader.probe_both(kDeployRs, kColmena);
  if (!deploy || *deploy) return fleet_from(reader, kDeployRs, deploy, wanted, parse_deploy_rs_json);
  if (!hive || *hive) return fleet_from(reader, kColmena, hive, wanted, parse_colmena_json);
  if (!names) return names.error();
  RETURN_IF_ERROR(refuse_raw_hive(reader));
  return fleet_from_names(reader, names, wanted);
}

}  // namespace

Result<Fleet> NixEvaluator::load_hosts(const std::string& flake_ref, const Selector* wanted,
                                       TimePoint deadline, std::stop_token stop) {
  if (flake_ref.empty() || flake_ref.front() == '-' || flake_ref.find('#') != std::string::npos)
    return Error{ErrorKind::kInvalidInput, quote(flake_ref) + " is no flake reference"};
  FlakeReader reader(options_, deadline, std::move(stop));
  RETURN_IF_ERROR(reader.lock(flake_ref));
  return read_fleet(reader, options_.schema, wanted);
}

}  // namespace flurry::eval
