#include "eval/colmena_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/spelling.h"
#include "eval/host_json.h"
#include "eval/json_reader.h"

namespace flurry::eval {

const char* const kColmenaExpression = R"(h: let
  inherit (builtins) attrNames isAttrs mapAttrs;
  meta = h.metaConfig or { };
  # text that names the flake's own files would make the answer depend on the store
  s = v: if builtins.isString v then builtins.unsafeDiscardStringContext v else v;
  node = d: {
    inherit (d) targetPort tags buildOnTarget replaceUnknownProfiles;
    targetHost = s d.targetHost;
    targetUser = s d.targetUser;
    privilegeEscalationCommand = map s d.privilegeEscalationCommand;
    sshOptions = map s d.sshOptions;
    keys = attrNames (d.keys or { });
  };
in if !isAttrs h || !(h ? deploymentConfig) then { notAHive = true; } else {
  schema = h.__schema or "";
  allowApplyAll = meta.allowApplyAll or true;
  machinesFile = if (meta.machinesFile or null) == null then "" else s (toString meta.machinesFile);
  nodes = mapAttrs (_: node) h.deploymentConfig;
})";

namespace {

constexpr const char* kSchema = "v0.5";

Error not_supported(const std::string& place, const std::string& what) {
  return {ErrorKind::kUnsupported, place + ": " + what + " is not supported yet by this version"};
}

struct Node {
  HostConfig host;
  bool has_address = true;
};

Result<void> read_target_host(const Json& value, const std::string& place, Node& into) {
  if (value.is_null()) {
    into.has_address = false;
    return {};
  }
  ASSIGN_OR_RETURN(auto address, read_text(value, place));
  if (address.front() == '-' || address.find_first_of(" /@") != std::string::npos)
    return wrong(place, quote(address) + " is no host name or address");
  into.host.target_hosts = {std::move(address)};
  return {};
}

Result<void> read_target_port(const Json& value, const std::string& place, Node& into) {
  if (value.is_null()) return {};
  ASSIGN_OR_RETURN(const int64_t port, read_integer(value, place, 1, 65535));
  into.host.target_port = static_cast<uint16_t>(port);
  return {};
}

Result<void> read_target_user(const Json& value, const std::string& place, Node& into) {
  if (value.is_null()) return {};
  ASSIGN_OR_RETURN(into.host.target_user, read_text(value, place));
  return {};
}

Result<void> read_tags(const Json& value, const std::string& place, Node& into) {
  ASSIGN_OR_RETURN(into.host.tags, read_texts(value, place));
  std::sort(into.host.tags.begin(), into.host.tags.end());
  into.host.tags.erase(std::unique(into.host.tags.begin(), into.host.tags.end()), into.host.tags.end());
  return {};
}

template <auto Member>
Result<void> texts(const Json& value, const std::string& place, Node& into) {
  ASSIGN_OR_RETURN(into.host.*Member, read_texts(value, place));
  return {};
}

Result<void> read_build_on_target(const Json& value, const std::string& place, Node& into) {
  ASSIGN_OR_RETURN(const bool is_target, read_bool(value, place));
  if (is_target) into.host.build_on = BuildOn::kTarget;
  return {};
}

Result<void> read_replace_unknown(const Json& value, const std::string& place, Node&) {
  ASSIGN_OR_RETURN(const bool replaces, read_bool(value, place));
  if (!replaces) return not_supported(place, "refusing to replace a profile that this machine does not know");
  return {};
}

Result<void> read_keys(const Json& value, const std::string& place, Node&) {
  ASSIGN_OR_RETURN(const auto names, read_texts(value, place));
  if (names.empty()) return {};
  return not_supported(
      place, "delivering secrets (" + names.front() +
                 (names.size() > 1 ? " and " + std::to_string(names.size() - 1) + " more" : "") + ")");
}

constexpr Field<Node> kNodeFields[] = {
    {"targetHost", read_target_host},
    {"targetPort", read_target_port},
    {"targetUser", read_target_user},
    {"tags", read_tags},
    {"privilegeEscalationCommand", texts<&HostConfig::privilege_escalation_command>},
    {"sshOptions", texts<&HostConfig::ssh_options>},
    {"buildOnTarget", read_build_on_target},
    {"replaceUnknownProfiles", read_replace_unknown},
    {"keys", read_keys},
};

struct Hive {
  std::string schema;
  bool allow_all = true;
  std::string machines_file;
  Json nodes;
  bool is_hive = true;
};

template <auto Member>
Result<void> hive_text(const Json& value, const std::string& place, Hive& into) {
  ASSIGN_OR_RETURN(into.*Member, read_block(value, place));
  return {};
}

Result<void> read_allow_all(const Json& value, const std::string& place, Hive& into) {
  ASSIGN_OR_RETURN(into.allow_all, read_bool(value, place));
  return {};
}

Result<void> read_nodes(const Json& value, const std::string& place, Hive& into) {
  RETURN_IF_ERROR(expect_object(value, place));
  into.nodes = value;
  return {};
}

Result<void> read_not_a_hive(const Json&, const std::string&, Hive& into) {
  into.is_hive = false;
  return {};
}

constexpr Field<Hive> kHiveFields[] = {{"schema", hive_text<&Hive::schema>},
                                       {"allowApplyAll", read_allow_all},
                                       {"machinesFile", hive_text<&Hive::machines_file>},
                                       {"nodes", read_nodes},
                                       {"notAHive", read_not_a_hive}};

}  // namespace

Result<Fleet> parse_colmena_json(std::string_view json) {
  ASSIGN_OR_RETURN(const Json root, parse_json(json, "colmenaHive"));
  Hive hive;
  RETURN_IF_ERROR(read_fields<Hive>(root, "colmenaHive", kHiveFields, hive));
  if (!hive.is_hive)
    return wrong("colmenaHive", "is no hive: write colmenaHive = colmena.lib.makeHive { ... }");
  if (hive.schema != kSchema)
    return Error{ErrorKind::kUnsupported, "colmenaHive.__schema: is " + quote(hive.schema) +
                                              ", this version reads " + quote(kSchema) +
                                              ": update the flake's colmena input"};
  Fleet fleet;
  if (!hive.machines_file.empty()) {
    if (hive.machines_file.front() != '/')
      return wrong("colmenaHive.meta.machinesFile",
                   "must be an absolute path, is " + quote(hive.machines_file));
    fleet.builders = "@" + hive.machines_file;
  }
  fleet.schema = FleetSchema::kColmena;
  fleet.needs_selection = !hive.allow_all;
  for (auto it = hive.nodes.begin(); it != hive.nodes.end(); ++it) {
    const std::string place = place_of("colmenaHive.nodes", it.key());
    auto name = HostName::parse(it.key());
    if (!name) return wrong(place, name.error().message);
    Node node{.host = {.name = *std::move(name)}};
    node.host.substitute_on_target = true;  // there is no field, only --no-substitute
    RETURN_IF_ERROR(read_fields<Node>(it.value(), place + ".deployment", kNodeFields, node));
    if (!node.has_address) continue;
    RETURN_IF_ERROR(finish_host(place, node.host));
    fleet.hosts.push_back(std::move(node.host));
  }
  if (fleet.hosts.empty())
    return wrong("colmenaHive.nodes", "has no host that can be reached (targetHost is null)");
  if (fleet.hosts.size() > kHostsMax)
    return wrong("colmenaHive.nodes", "has more than " + std::to_string(kHostsMax) + " hosts");
  return fleet;
}

}  // namespace flurry::eval
