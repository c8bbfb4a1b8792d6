#include "eval/colmena_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/spelling.h"
#include "eval/host_json.h"
#include "eval/hosts_json.h"
#include "eval/json_reader.h"

namespace flurry::eval {

// Text that names the flake's own files would make the answer depend on the store.
std::string colmena_expression() {
  return R"(h: let
  inherit (builtins) isAttrs mapAttrs;
  meta = h.metaConfig or { };
  s = v: if builtins.isString v then builtins.unsafeDiscardStringContext v else v;
in if !isAttrs h || !(h ? deploymentConfig) then { notAHive = true; } else {
  schema = h.__schema or "";
  allowApplyAll = meta.allowApplyAll or true;
  machinesFile = if (meta.machinesFile or null) == null then "" else s (toString meta.machinesFile);
  nodes = mapAttrs (_: _: null) h.deploymentConfig;
})";
}

EvalPlace colmena_node() {
  return {"colmenaHive.deploymentConfig", R"((let
  d = f.${h};
  s = v: if builtins.isString v then builtins.unsafeDiscardStringContext v else v;
in builtins.toJSON (if n == "tags" then { inherit (d) tags; } else {
  inherit (d) targetPort tags buildOnTarget replaceUnknownProfiles;
  targetHost = s d.targetHost;
  targetUser = s d.targetUser;
  privilegeEscalationCommand = map s d.privilegeEscalationCommand;
  sshOptions = map s d.sshOptions;
  keys = builtins.attrNames (d.keys or { });
})))"};
}

namespace {

constexpr const char* kSchema = "v0.5";

Error not_supported(const std::string& place, const std::string& what) {
  return {ErrorKind::kUnsupported, place + ": " + what + " is not supported yet by this version"};
}

struct Node {
  HostConfig host;
  std::string address;  // as it stands there; empty: not there
};

Result<void> read_target_host(const Json& value, const std::string& place, Node& into) {
  ASSIGN_OR_RETURN(into.address, read_text(value, place));
  return {};
}

// As ssh reads it: what stands before the last '@' is the user.
Result<void> take_address(const std::string& place, Node& node) {
  std::string address = node.address;
  if (const size_t at = address.rfind('@'); at != std::string::npos) {
    if (node.host.target_user)
      return wrong(place, quote(address) + " names a user, and so does targetUser, " +
                              quote(*node.host.target_user) +
                              ": set targetUser = null, or leave it out here");
    node.host.target_user = address.substr(0, at);
    address.erase(0, at + 1);
    if (node.host.target_user->empty() || node.host.target_user->front() == '-')
      return wrong(place, quote(node.address) + " names no user");
  }
  if (address.empty() || address.front() == '-' || address.find_first_of(" /") != std::string::npos)
    return wrong(place, quote(address) + " is no host name or address");
  node.host.target_hosts = {std::move(address)};
  return {};
}

Result<void> read_target_port(const Json& value, const std::string& place, Node& into) {
  ASSIGN_OR_RETURN(const int64_t port, read_integer(value, place, 1, 65535));
  into.host.target_port = static_cast<uint16_t>(port);
  return {};
}

Result<void> read_target_user(const Json& value, const std::string& place, Node& into) {
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
  Json nodes = Json::object();
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

const HostsPlace kNodesPlace{
    .set = "colmenaHive.nodes", .settings = ".deployment", .example = "NAME = { ... };"};

Result<void> read_node(const std::string& place, const Json& json, HostConfig& host) {
  Node node{.host = host, .address = {}};
  const auto read = read_fields<Node>(json, place, kNodeFields, node);
  host = node.host;
  RETURN_IF_ERROR(read);
  if (!node.address.empty()) RETURN_IF_ERROR(take_address(place + ".targetHost", node));
  RETURN_IF_ERROR(finish_host(place, node.host));
  if (json.contains("targetHost") && is_unset(json["targetHost"])) node.host.target_hosts.clear();
  host = node.host;
  return {};
}

}  // namespace

Result<Fleet> parse_colmena_json(std::string_view json, const Reading& reading) {
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
  HostConfig defaults{.name = *HostName::parse("defaults")};
  defaults.substitute_on_target = true;  // there is no field, only --no-substitute
  RETURN_IF_ERROR(read_hosts(hive.nodes, kNodesPlace, defaults, reading, read_node, fleet));
  return fleet;
}

}  // namespace flurry::eval
