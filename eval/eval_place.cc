#include "eval/eval_place.h"

#include <algorithm>

namespace flurry::eval {
namespace {

// The closure of host `h`, profile `n` in the output `f`.
struct PathPlace {
  const char* output;
  const char* path;
};

constexpr PathPlace kSystems{"nixosConfigurations",
                             R"((let c = f.${h}; in
        if !(builtins.isAttrs c && c ? config.system.build.toplevel)
        then throw "nixosConfigurations.${h} is no NixOS system: make it with nixpkgs.lib.nixosSystem { ... }"
        else if (c.config.deployment.keys or { }) != { }
        then throw "nixosConfigurations.${h}.config.deployment.keys: delivering secrets is not supported yet by this version: without them the host would run without its keys"
        else c.config.system.build.toplevel))"};
constexpr PathPlace kOwnPaths{"flurry.hosts", "f.${h}.profiles.${n}.path"};
constexpr PathPlace kDefaultPaths{"flurry.defaults.profiles", "f.${n}.path"};
constexpr PathPlace kNodePaths{"deploy.nodes", "f.${h}.profiles.${n}.path"};
constexpr PathPlace kHivePaths{"colmenaHive.toplevel", "f.${h}"};
constexpr PathPlace kPlaces[] = {kSystems, kOwnPaths, kDefaultPaths, kNodePaths, kHivePaths};

const char* output_for(const Fleet& fleet, const ProfileConfig& profile) {
  if (fleet.schema == FleetSchema::kDeployRs) return kNodePaths.output;
  if (fleet.schema == FleetSchema::kColmena) return kHivePaths.output;
  if (!profile.has_path) return kSystems.output;
  return profile.is_default_path ? kDefaultPaths.output : kOwnPaths.output;
}

// Text that names the output of one derivation, as in path = "${home}", says what to build as well. Text
// without anything behind it names what must be in the store, or in a cache, already.
constexpr const char* kPaths =
    "; s = builtins.unsafeDiscardStringContext; from = builtins.getContext given; "
    "names = builtins.attrNames from; in "
    "if builtins.isString given && builtins.length names == 1 && "
    "(from.${builtins.head names}.outputs or [ ]) != [ ] "
    "then \"${s (builtins.head names)} ${s given}\" "
    "else if builtins.isString given && builtins.match \"/nix/store/[0-9a-z]{32}-[^/ ]+\" given != null "
    "then \"${s given} ${s given}\" "
    "else if builtins.isAttrs given && given ? drvPath && given ? outPath "
    "then \"${s given.drvPath} ${s given.outPath}\" "
    "else throw \"the path of profile ${n} is not a derivation\")";

}  // namespace

EvalTasks make_tasks(const Fleet& fleet, const std::vector<size_t>& hosts) {
  EvalTasks out;
  for (const auto& place : kPlaces) {
    const size_t index = out.places.size();
    for (const size_t host : hosts) {
      EvalTask task{index, host, fleet.hosts[host].name.str(), {}};
      for (const auto& profile : ordered_profiles(fleet.hosts[host]))
        if (output_for(fleet, fleet.hosts[host].profiles.at(profile.name)) == std::string(place.output))
          task.questions.push_back(profile.name);
      if (!task.questions.empty()) out.tasks.push_back(std::move(task));
    }
    out.places.push_back({place.output, std::string("(let given = ") + place.path + kPaths});
  }
  return out;
}

std::string expression_of(const EvalPlace& place, const std::string& marker,
                          const std::vector<std::string>& names) {
  std::string list;
  for (const auto& name : names) {
    const size_t blank = name.find(' ');
    list += " { h = \"" + name.substr(0, blank) + "\"; n = \"" + name.substr(blank + 1) + "\"; }";
  }
  // A line of stderr is read up to 64 KiB.
  return "f: let tell = { h, n }@q: text: if builtins.stringLength text <= 30000 "
         "then builtins.trace \"" +
         marker + " done ${h} ${n} ${text}\" true else builtins.trace \"" + marker +
         " part ${h} ${n} ${builtins.substring 0 30000 text}\" "
         "(tell q (builtins.substring 30000 (builtins.stringLength text) text)); "
         "in builtins.map ({ h, n }@q: builtins.trace \"" +
         marker + " begin ${h} ${n}\" (tell q " + place.answer + ")) [" + list + " ]";
}

Result<DerivationPaths> parse_paths(std::string_view text) {
  const size_t blank = std::min(text.find(' '), text.size());
  ASSIGN_OR_RETURN(auto drv, StorePath::parse(text.substr(0, blank)));
  ASSIGN_OR_RETURN(auto out, StorePath::parse(text.substr(std::min(blank + 1, text.size()))));
  return DerivationPaths{std::move(drv), std::move(out)};
}

}  // namespace flurry::eval
