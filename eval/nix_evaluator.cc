#include "eval/nix_evaluator.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/spelling.h"
#include "eval/colmena_json.h"
#include "eval/deploy_rs_json.h"
#include "eval/flake_hint.h"
#include "eval/fleet_json.h"
#include "eval/json_reader.h"
#include "eval/nix_command.h"

namespace flurry::eval {
namespace {

// Everything but the values of profiles.*.path, which may be whole systems: `true` stands for them.
// A derivation instead of a fleet comes from packages.<system>.flurry, where Nix looks first.
constexpr const char* kFleetExpression = R"(f: let
  inherit (builtins) isAttrs mapAttrs removeAttrs;
  profile = p: if isAttrs p && p ? path then removeAttrs p [ "path" ] // { path = true; } else p;
  host = h: if isAttrs h && h ? profiles && isAttrs h.profiles && !(h.profiles ? outPath)
    then h // { profiles = mapAttrs (_: profile) h.profiles; } else h;
in if !isAttrs f then f
  else if f ? outPath then { derivation = true; }
  else { fleet = f
    // (if f ? defaults then { defaults = host f.defaults; } else { })
    // (if f ? hosts && isAttrs f.hosts then { hosts = mapAttrs (_: host) f.hosts; } else { }); })";
constexpr const char* kNamesExpression = "c: if builtins.isAttrs c then builtins.attrNames c else c";
constexpr const char* kPresentExpression = "_: true";

// What one evaluation of an output found; no text: the flake doesn't have the output.
using Probe = std::optional<std::string>;

bool is_missing(const Error& error) {
  return error.kind == ErrorKind::kFailed &&
         error.message.find("does not provide attribute") != std::string::npos;
}

// The questions to one flake.
class FlakeReader {
 public:
  FlakeReader(const EvalOptions& options, TimePoint deadline, std::stop_token stop)
      : options_(options), deadline_(deadline), stop_(std::move(stop)) {}

  // Fills flake_ref, eval_ref, lock and revision.
  Result<void> lock(const std::string& flake_ref) {
    source_.flake_ref = flake_ref;
    const auto output = run_nix(options_, {"flake", "metadata", "--json", flake_ref}, deadline_, stop_);
    if (!output) return explained(output.error()).with_context("flake " + quote(flake_ref));
    ASSIGN_OR_RETURN(const Json root, parse_json(*output, "nix flake metadata"));
    try {
      read_metadata(root);
    } catch (const Json::exception& e) {
      return Error{ErrorKind::kFailed, std::string("nix flake metadata: unexpected answer: ") + e.what()};
    }
    return {};
  }

  Result<Probe> probe(const char* output, const char* expression) const {
    auto text = run_nix(options_, {"eval", "--json", source_.eval_ref + "#" + output, "--apply", expression},
                        deadline_, stop_);
    if (text) return Probe(*std::move(text));
    if (is_missing(text.error())) return Probe();
    return explained(text.error())
        .with_context("reading " + std::string(output) + " of flake " + quote(source_.flake_ref));
  }

  // Two at a time, as the processes do nothing but wait for their own evaluation.
  std::pair<Result<Probe>, Result<Probe>> probe_both(const char* output_a, const char* expression_a,
                                                     const char* output_b, const char* expression_b) const {
    Result<Probe> a = Probe();
    std::jthread other([&] { a = probe(output_a, expression_a); });
    Result<Probe> b = probe(output_b, expression_b);
    other.join();
    return {std::move(a), std::move(b)};
  }

  const Fleet& source() const { return source_; }

 private:
  Error explained(Error error) const {
    if (error.kind == ErrorKind::kFailed) error.message += flake_hint(source_.flake_ref, error.message);
    return error;
  }

  // What the flake's own lock file doesn't name may be another by the time that it is evaluated.
  static bool has_locked_inputs(const Json& root, const Json& locked) {
    const Json locks = root.value("locks", Json::object());
    const Json nodes = locks.value("nodes", Json::object());
    if (!nodes.is_object() || nodes.empty()) return false;
    if (nodes.size() == 1) return true;  // the flake itself
    std::ifstream file(root.value("path", std::string()) + "/" + locked.value("dir", std::string()) +
                       "/flake.lock");
    const std::string text{std::istreambuf_iterator<char>(file), {}};
    const auto written = parse_json(text, "flake.lock");
    return written && *written == locks;
  }

  void read_metadata(const Json& root) {
    const Json locked = root.value("locked", Json::object());
    source_.revision = root.value("revision", root.value("dirtyRevision", std::string()));
    const bool is_git = locked.value("type", std::string()) == "git";
    const bool dirty = is_git && !root.contains("revision");
    if (dirty && source_.revision.empty()) source_.revision = "dirty";
    // The locked flake can't change under a long deployment. A changed work tree has no lock, and Nix
    // 2.8 forgets "submodules" when it writes the URL.
    const bool lossy = locked.contains("submodules") || locked.contains("lfs");
    source_.eval_ref = source_.flake_ref;
    if (dirty || lossy || !locked.contains("narHash")) return;
    source_.eval_ref = root.value("url", source_.flake_ref);
    if (has_locked_inputs(root, locked)) source_.lock = locked.dump() + "\n" + root["locks"].dump();
  }

  const EvalOptions& options_;
  const TimePoint deadline_;
  const std::stop_token stop_;
  Fleet source_;
};

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
    ASSIGN_OR_RETURN(const Json root, parse_json(*names_json, "nixosConfigurations"));
    if (!root.is_array()) return wrong_type("nixosConfigurations", "an attribute set", root);
    for (const auto& name : root) names.push_back(name.is_string() ? name.get<std::string>() : "");
  }
  for (auto& host : fleet.hosts) {
    const std::string& name = host.name.str();
    if (!takes_its_system_by_name(host) || std::binary_search(names.begin(), names.end(), name)) continue;
    // A machine that is not NixOS, with users' profiles only; but a name that is nearly one is misspelt.
    if (host.profiles.size() > 1 && did_you_mean(name, names).empty()) {
      host.profiles.erase(std::string(kSystemProfile));
      continue;
    }
    return wrong(place_of("flurry.hosts", name), "no nixosConfigurations has this name" +
                                                     did_you_mean(name, names) +
                                                     "; name it so, or set profiles.system.path");
  }
  return {};
}

Result<Fleet> fleet_from_output(const FlakeReader& reader, const std::string& json,
                                const Result<Probe>& names) {
  ASSIGN_OR_RETURN(const Json root, parse_json(json, "flurry"));
  if (!root.is_object()) return wrong_type("flurry", "an attribute set", root);
  if (root.contains("derivation"))
    return bad_flake(reader.source(),
                     "has a package named flurry, which hides the output 'flurry': rename the package");
  ASSIGN_OR_RETURN(auto fleet, parse_fleet_json(root.at("fleet").dump()));
  const bool needs_names = std::any_of(fleet.hosts.begin(), fleet.hosts.end(), takes_its_system_by_name);
  if (needs_names && !names) return names.error();
  if (needs_names) RETURN_IF_ERROR(check_systems(fleet, *names));
  return with_source(std::move(fleet), reader.source());
}

Result<Fleet> fleet_from_names(const FlakeReader& reader, const Probe& names) {
  if (!names)
    return bad_flake(
        reader.source(),
        "has none of the outputs 'flurry', 'deploy', 'colmenaHive' and 'nixosConfigurations': add one");
  ASSIGN_OR_RETURN(auto fleet, parse_names_json(*names));
  return with_source(std::move(fleet), reader.source());
}

Result<Fleet> fleet_from(const FlakeReader& reader, const char* output, const Result<Probe>& probe,
                         Result<Fleet> (*parse)(std::string_view json)) {
  if (!probe) return probe.error();
  if (!*probe) return bad_flake(reader.source(), std::string("has no output '") + output + "'");
  ASSIGN_OR_RETURN(auto fleet, parse(**probe));
  return with_source(std::move(fleet), reader.source());
}

// The raw hive needs colmena's own code to become one.
Result<void> refuse_raw_hive(const FlakeReader& reader) {
  const auto raw = reader.probe("colmena", kPresentExpression);
  if (!raw && raw.error().kind != ErrorKind::kFailed) return raw.error();
  if (raw && !*raw) return {};
  return Error{
      ErrorKind::kUnsupported,
      "flake " + quote(reader.source().flake_ref) +
          " has the output 'colmena', a hive that only colmena itself can complete: add colmenaHive = "
          "colmena.lib.makeHive self.outputs.colmena, or give --schema nixos to deploy its "
          "nixosConfigurations by their names"};
}

}  // namespace

Result<Fleet> NixEvaluator::load_fleet(const std::string& flake_ref, TimePoint deadline,
                                       std::stop_token stop) {
  if (flake_ref.empty() || flake_ref.front() == '-' || flake_ref.find('#') != std::string::npos)
    return Error{ErrorKind::kInvalidInput, quote(flake_ref) + " is no flake reference"};
  FlakeReader reader(options_, deadline, stop);
  RETURN_IF_ERROR(reader.lock(flake_ref));
  using Schema = FleetSchema;
  const auto names = [&] { return reader.probe("nixosConfigurations", kNamesExpression); };
  if (options_.schema == Schema::kNixosConfigurations) {
    ASSIGN_OR_RETURN(const auto found, names());
    return fleet_from_names(reader, found);
  }
  if (options_.schema == Schema::kDeployRs)
    return fleet_from(reader, "deploy", reader.probe("deploy", kDeployRsExpression), parse_deploy_rs_json);
  if (options_.schema == Schema::kColmena)
    return fleet_from(reader, "colmenaHive", reader.probe("colmenaHive", kColmenaExpression),
                      parse_colmena_json);

  const auto [flurry, configurations] =
      reader.probe_both("flurry", kFleetExpression, "nixosConfigurations", kNamesExpression);
  if (!flurry) return flurry.error();
  if (*flurry) return fleet_from_output(reader, **flurry, configurations);
  if (options_.schema == Schema::kFlurry) return bad_flake(reader.source(), "has no output 'flurry'");
  const auto [deploy, hive] =
      reader.probe_both("deploy", kDeployRsExpression, "colmenaHive", kColmenaExpression);
  if (!deploy || *deploy) return fleet_from(reader, "deploy", deploy, parse_deploy_rs_json);
  if (!hive || *hive) return fleet_from(reader, "colmenaHive", hive, parse_colmena_json);
  if (!configurations) return configurations.error();
  RETURN_IF_ERROR(refuse_raw_hive(reader));
  return fleet_from_names(reader, *configurations);
}

}  // namespace flurry::eval
