#include "eval/eval_place.h"

#include <algorithm>

namespace flurry::eval {
namespace {

Source source_of(const Fleet& fleet, const ProfileConfig& profile) {
  if (fleet.schema == FleetSchema::kDeployRs) return Source::kDeployRs;
  if (fleet.schema == FleetSchema::kColmena) return Source::kColmena;
  return profile.has_path ? Source::kFlurry : Source::kNixosConfigurations;
}

// The closure of host `h`, profile `n` in the output `f`.
const char* path_in(Source source) {
  switch (source) {
    case Source::kNixosConfigurations:
      return R"((let c = f.${h}; in
        if builtins.isAttrs c && c ? config.system.build.toplevel then c.config.system.build.toplevel
        else throw "nixosConfigurations.${h} is no NixOS system: make it with nixpkgs.lib.nixosSystem { ... }"))";
    case Source::kFlurry:
      return "(f.hosts.${h}.profiles.${n}.path or f.defaults.profiles.${n}.path)";
    case Source::kDeployRs:
      return "f.nodes.${h}.profiles.${n}.path";
    case Source::kColmena:
      return "f.toplevel.${h}";
  }
  return "";
}

// Text that names the output of one derivation, as in path = "${home}", says what to build as well.
constexpr const char* kDerivation =
    "(let from = builtins.getContext given; names = builtins.attrNames from; in "
    "if builtins.isString given && builtins.length names == 1 && "
    "(from.${builtins.head names}.outputs or [ ]) != [ ] "
    "then { drvPath = builtins.head names; outPath = given; } else given)";

}  // namespace

std::vector<EvalTask> make_tasks(const Fleet& fleet, const std::vector<size_t>& hosts) {
  std::vector<EvalTask> tasks;
  for (const Source source :
       {Source::kNixosConfigurations, Source::kFlurry, Source::kDeployRs, Source::kColmena})
    for (const size_t host : hosts) {
      EvalTask task{source, host, {}};
      const auto profiles = ordered_profiles(fleet.hosts[host]);
      for (size_t i = 0; i < profiles.size(); ++i)
        if (source_of(fleet, fleet.hosts[host].profiles.at(profiles[i].name)) == source)
          task.profiles.push_back(i);
      if (!task.profiles.empty()) tasks.push_back(std::move(task));
    }
  return tasks;
}

const char* output_of(Source source) {
  switch (source) {
    case Source::kNixosConfigurations:
      return "nixosConfigurations";
    case Source::kFlurry:
      return "flurry";
    case Source::kDeployRs:
      return "deploy";
    case Source::kColmena:
      return "colmenaHive";
  }
  return "";
}

// Nothing in these names needs escaping, in Nix or between blanks.
std::string expression_of(Source source, const std::string& marker, const std::vector<std::string>& names) {
  std::string list;
  for (const auto& name : names) {
    const size_t blank = name.find(' ');
    list += " { h = \"" + name.substr(0, blank) + "\"; n = \"" + name.substr(blank + 1) + "\"; }";
  }
  return "f: builtins.map ({ h, n }: builtins.trace \"" + marker +
         " begin ${h} ${n}\" (let given = " + path_in(source) + "; p = " + kDerivation +
         "; s = builtins.unsafeDiscardStringContext; in "
         "if !(builtins.isAttrs p && p ? drvPath && p ? outPath) then throw \"the path of profile ${n} is "
         "not a derivation\" else "
         "builtins.trace \"" +
         marker + " done ${h} ${n} ${s p.drvPath} ${s p.outPath}\" true)) [" + list + " ]";
}

Result<DerivationPaths> parse_paths(std::string_view text) {
  const size_t blank = std::min(text.find(' '), text.size());
  ASSIGN_OR_RETURN(auto drv, StorePath::parse(text.substr(0, blank)));
  ASSIGN_OR_RETURN(auto out, StorePath::parse(text.substr(std::min(blank + 1, text.size()))));
  return DerivationPaths{std::move(drv), std::move(out)};
}

}  // namespace flurry::eval
