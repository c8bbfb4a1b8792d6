#include "eval/deploy_rs_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/profile.h"
#include "core/spelling.h"
#include "eval/host_json.h"
#include "eval/hosts_json.h"
#include "eval/json_reader.h"

namespace flurry::eval {

namespace {

// What deploy-rs has at every level, and a set with only the values of these and some more.
constexpr const char* kLet = R"(let
  inherit (builtins) elem isAttrs mapAttrs;
  generic = [ "sshUser" "user" "sudo" "interactiveSudo" "sshOpts" "fastConnection" "autoRollback" "magicRollback"
    "confirmTimeout" "activationTimeout" "tempPath" "remoteBuild" ];
  keep = more: set: mapAttrs (n: v: if elem n (generic ++ more) then v else null) set;
)";

}  // namespace

std::string deploy_rs_expression() {
  return std::string("d: ") + kLet + R"(
in if !isAttrs d then d else keep [ ] d
  // (if d ? nodes then { nodes = if isAttrs d.nodes then mapAttrs (_: _: null) d.nodes else d.nodes; } else { }))";
}

EvalPlace deploy_rs_node() {
  return {"deploy.nodes", std::string("(") + kLet + R"(
  profile = p: if isAttrs p then keep [ "profilePath" ] p // (if p ? path then { path = true; } else { }) else p;
  profiles = ps: if isAttrs ps && !(ps ? outPath) then mapAttrs (_: profile) ps else ps;
  node = n: if isAttrs n then keep [ "hostname" "profilesOrder" ] n
    // (if n ? profiles then { profiles = profiles n.profiles; } else { }) else n;
in builtins.toJSON (node f.${h})))"};
}

namespace {

constexpr int64_t kTimeoutMax = 65535;  // deploy-rs keeps seconds in 16 bits
constexpr Millis kConfirmMin{5000};     // as for our own fleets
constexpr const char* kSystemLink = "/nix/var/nix/profiles/system";

// What may stand at every level; deeper ones replace.
struct Settings {
  std::optional<std::string> ssh_user;
  std::optional<std::string> user;
  std::vector<std::string> sudo{"sudo", "-n", "-u"};
  std::vector<std::string> ssh_opts;
  bool is_sudo_interactive = false;
  bool fast_connection = false;
  bool auto_rollback = true;
  bool magic_rollback = true;
  bool remote_build = false;
  int64_t confirm_timeout = 30;
  int64_t activation_timeout = 240;
};

struct Profile : Settings {
  std::optional<std::string> link;
  bool has_path = false;
};

struct Node : Settings {
  std::optional<std::string> hostname;
  std::vector<std::string> order;
  std::map<std::string, Json> profiles;
  bool has_profiles = false;
};

struct Top : Settings {
  Json nodes;
};

template <auto Member>
Result<void> text(const Json& value, const std::string& place, Settings& into) {
  ASSIGN_OR_RETURN(into.*Member, read_text(value, place));
  return {};
}

template <auto Member>
Result<void> flag(const Json& value, const std::string& place, Settings& into) {
  ASSIGN_OR_RETURN(into.*Member, read_bool(value, place));
  return {};
}

template <auto Member>
Result<void> seconds(const Json& value, const std::string& place, Settings& into) {
  ASSIGN_OR_RETURN(into.*Member, read_integer(value, place, 0, kTimeoutMax));
  return {};
}

Result<void> read_sudo(const Json& value, const std::string& place, Settings& into) {
  ASSIGN_OR_RETURN(const auto words, read_text(value, place));
  std::istringstream stream(words);
  into.sudo.clear();
  for (std::string word; stream >> word;) into.sudo.push_back(word);
  return {};
}

Result<void> read_ssh_opts(const Json& value, const std::string& place, Settings& into) {
  ASSIGN_OR_RETURN(auto opts, read_texts(value, place));
  opts.insert(opts.end(), into.ssh_opts.begin(), into.ssh_opts.end());
  into.ssh_opts = std::move(opts);
  return {};
}

// No file stands for a confirmation here, so its place means nothing.
Result<void> read_temp_path(const Json& value, const std::string& place, Settings&) {
  RETURN_IF_ERROR(read_text(value, place));
  return {};
}

constexpr Field<Settings> kSettings[] = {
    {"sshUser", text<&Settings::ssh_user>},
    {"user", text<&Settings::user>},
    {"sudo", read_sudo},
    {"interactiveSudo", flag<&Settings::is_sudo_interactive>},
    {"sshOpts", read_ssh_opts},
    {"fastConnection", flag<&Settings::fast_connection>},
    {"autoRollback", flag<&Settings::auto_rollback>},
    {"magicRollback", flag<&Settings::magic_rollback>},
    {"confirmTimeout", seconds<&Settings::confirm_timeout>},
    {"activationTimeout", seconds<&Settings::activation_timeout>},
    {"tempPath", read_temp_path},
    {"remoteBuild", flag<&Settings::remote_build>},
};

Result<void> read_profile_path(const Json&, const std::string&, Profile& into) {
  into.has_path = true;
  return {};
}

Result<void> read_profile_link(const Json& value, const std::string& place, Profile& into) {
  ASSIGN_OR_RETURN(into.link, read_text(value, place));
  const std::string& link = *into.link;
  const bool is_plain = link.size() <= 512 && link.front() == '/' && link.size() > 1 && link.back() != '/' &&
                        std::all_of(link.begin(), link.end(), [](char c) { return c > ' ' && c < 0x7f; });
  const std::string closed = link + "/";
  if (!is_plain || closed.find("//") != std::string::npos || closed.find("/../") != std::string::npos ||
      closed.find("/./") != std::string::npos)
    return wrong(place, "must be an absolute path of at most 512 plain characters");
  return {};
}

constexpr Field<Profile> kProfileFields[] = {{"path", read_profile_path}, {"profilePath", read_profile_link}};

Result<void> read_hostname(const Json& value, const std::string& place, Node& into) {
  ASSIGN_OR_RETURN(into.hostname, read_text(value, place));
  if (into.hostname->front() == '-' || into.hostname->find_first_of(" /@") != std::string::npos)
    return wrong(place, quote(*into.hostname) + " is no host name or address");
  return {};
}

Result<void> read_order(const Json& value, const std::string& place, Node& into) {
  ASSIGN_OR_RETURN(into.order, read_texts(value, place));
  return {};
}

Result<void> read_node_profiles(const Json& value, const std::string& place, Node& into) {
  RETURN_IF_ERROR(expect_object(value, place));
  into.has_profiles = true;
  for (auto it = value.begin(); it != value.end(); ++it)
    if (!is_unset(it.value())) into.profiles.emplace(it.key(), it.value());
  return {};
}

constexpr Field<Node> kNodeFields[] = {
    {"hostname", read_hostname}, {"profilesOrder", read_order}, {"profiles", read_node_profiles}};

Result<void> read_nodes(const Json& value, const std::string& place, Top& into) {
  RETURN_IF_ERROR(expect_object(value, place));
  into.nodes = value;
  return {};
}

constexpr Field<Top> kTopFields[] = {{"nodes", read_nodes}};

// As read_fields(), for the two tables of a level; tolerant as the header says.
template <typename T>
Result<void> read_level(const Json& value, const std::string& place, std::span<const Field<T>> own, T& into) {
  struct Context {
    const std::string& place;
    std::span<const Field<T>> own;
    T& into;
  } context{place, own, into};
  return for_each_attribute(value, place, &context,
                            [](void* raw, const std::string& name, const Json& v) -> Result<void> {
                              auto& c = *static_cast<Context*>(raw);
                              std::vector<std::string> known;
                              for (const auto& field : c.own) {
                                if (field.name == name && is_unset(v)) return {};
                                if (field.name == name) return field.read(v, place_of(c.place, name), c.into);
                                known.emplace_back(field.name);
                              }
                              for (const auto& field : kSettings) {
                                if (field.name == name && is_unset(v)) return {};
                                if (field.name == name) return field.read(v, place_of(c.place, name), c.into);
                                known.emplace_back(field.name);
                              }
                              if (did_you_mean(name, known).empty()) return {};
                              return unknown_field(place_of(c.place, name), name, known);
                            });
}

Result<ProfileConfig> to_profile(const Profile& profile, const std::string& place) {
  if (!profile.has_path)
    return wrong(place + ".path", "is missing: write path = deploy-rs.lib.SYSTEM.activate.nixos ...");
  const auto& user = profile.user ? profile.user : profile.ssh_user;
  if (!user)
    return wrong(place + ".user",
                 "is missing, and so is sshUser, which stands in for it: write user = \"root\"");
  RETURN_IF_ERROR(check_profile_user(*user, place + ".user"));
  return ProfileConfig{
      .user = *user, .has_path = true, .link = profile.link.value_or(""), .needs_activation = true};
}

// One name stands for NixOS itself here, which is tested before its profile is set.
Result<void> check_system(const ProfileConfig& system, const std::string& place, bool has_user) {
  if (system.user != "root")
    return Error{
        ErrorKind::kUnsupported,
        place + ".user: is " + quote(system.user) + (has_user ? "" : " (sshUser stands in for it)") +
            ": the profile 'system' is root's: set user = \"root\", or give the profile another name"};
  if (!system.link.empty() && system.link != kSystemLink)
    return Error{ErrorKind::kUnsupported, place + ".profilePath: the profile 'system' is " + kSystemLink +
                                              ": leave profilePath out, or give the profile another name"};
  return {};
}

void take_settings(const Settings& from, HostConfig& host) {
  host.target_user = from.ssh_user;
  host.ssh_options = from.ssh_opts;
  host.privilege_escalation_command = from.sudo;
  host.privilege_escalation_command.emplace_back("root");  // the agent becomes each profile's user by itself
  host.confirm_timeout = std::max(kConfirmMin, Millis(from.confirm_timeout * 1000));
  host.activation_timeout = std::max(Millis(1000), Millis(from.activation_timeout * 1000));
  // Its schema knows no health; a unit that failed has as long to recover as the confirmation has to come.
  host.health.deadline = std::max(2 * kMinHealthyWithChecks, host.confirm_timeout);
  host.magic_rollback = from.magic_rollback;
  host.auto_rollback = from.auto_rollback;
  host.substitute_on_target = !from.fast_connection;
}

// A password is wanted by sudo alone, which root needs not.
bool asks_for_a_password(const Settings& settings) {
  return settings.is_sudo_interactive && settings.ssh_user != "root";
}

// What a profile says and can't have, as there is one connection and one way back for all of its host.
std::string unheeded(const Settings& own, const Settings& main) {
  const std::pair<const char*, bool> differs[] = {
      {"sshUser", own.ssh_user != main.ssh_user},
      {"sudo", own.sudo != main.sudo},
      {"sshOpts", own.ssh_opts != main.ssh_opts},
      {"fastConnection", own.fast_connection != main.fast_connection},
      {"autoRollback", own.auto_rollback != main.auto_rollback},
      {"magicRollback", own.magic_rollback != main.magic_rollback},
      {"confirmTimeout", own.confirm_timeout != main.confirm_timeout},
      {"activationTimeout", own.activation_timeout != main.activation_timeout}};
  std::string names;
  for (const auto& [name, is_so] : differs)
    if (is_so) names += (names.empty() ? "" : ", ") + std::string(name);
  return names;
}

Result<Settings> read_profile(const Json& json, const std::string& place, const std::string& name,
                              const Settings& around, HostConfig& host) {
  RETURN_IF_ERROR(check_profile_name(name, place));
  RETURN_IF_ERROR(expect_object(json, place));
  Profile profile;
  static_cast<Settings&>(profile) = around;
  RETURN_IF_ERROR(read_level<Profile>(json, place, kProfileFields, profile));
  if (asks_for_a_password(profile))
    return Error{ErrorKind::kUnsupported,
                 place +
                     ".interactiveSudo: a password can't be asked for yet: allow this user sudo without "
                     "one"};
  // All profiles of a host are built in one place.
  if (profile.remote_build) host.build_on = BuildOn::kTarget;
  ASSIGN_OR_RETURN(host.profiles[name], to_profile(profile, place));
  if (name == kSystemProfile)
    RETURN_IF_ERROR(check_system(host.profiles[name], place, profile.user.has_value()));
  return Settings(profile);
}

Result<void> read_node(const std::string& place, const Json& json, const Top& top, HostConfig& host) {
  RETURN_IF_ERROR(expect_object(json, place));
  Node node;
  static_cast<Settings&>(node) = top;
  Mistakes mistakes;
  mistakes.add(read_level<Node>(json, place, kNodeFields, node));
  if (!mistakes.empty()) return mistakes.result();
  if (!node.hostname) mistakes.add(wrong(place + ".hostname", "is missing: write hostname = \"ADDRESS\""));
  if (!node.has_profiles)
    mistakes.add(
        wrong(place + ".profiles", "is missing: write profiles.system = { user = \"root\"; path = ...; }"));
  else if (node.profiles.empty())
    mistakes.add(wrong(place + ".profiles", "is empty: there is nothing to deploy"));

  host.profiles.clear();
  host.profiles_order = node.order;
  std::map<std::string, Settings> settings;
  for (const auto& [name, profile] : node.profiles) {
    auto read = read_profile(profile, place_of(place + ".profiles", name), name, node, host);
    if (read)
      settings.emplace(name, *std::move(read));
    else
      mistakes.add(read.error());
  }
  if (!mistakes.empty()) return mistakes.result();
  host.target_hosts = {*node.hostname};
  RETURN_IF_ERROR(finish_host(place, host));
  const bool has_system = host.profiles.contains(std::string(kSystemProfile));
  const std::string main_name =
      has_system ? std::string(kSystemProfile) : ordered_profiles(host).front().name;
  take_settings(settings.at(main_name), host);
  for (const auto& [name, own] : settings)
    if (const std::string names = unheeded(own, settings.at(main_name)); !names.empty())
      host.notes.push_back(place_of(place + ".profiles", name) + ": " + names +
                           " hold for all profiles of a host here: those of the profile " + quote(main_name) +
                           " are taken");
  return {};
}

const HostsPlace kNodesPlace{.set = "deploy.nodes",
                             .example = "nodes.NAME = { hostname = ...; profiles = ...; }"};

}  // namespace

Result<Fleet> parse_deploy_rs_json(std::string_view json, const Reading& reading) {
  ASSIGN_OR_RETURN(const Json root, parse_json(json, "deploy"));
  RETURN_IF_ERROR(expect_object(root, "deploy"));
  Top top;
  RETURN_IF_ERROR(read_level<Top>(root, "deploy", kTopFields, top));
  if (top.nodes.is_null()) return wrong(kNodesPlace.set, "is missing: add " + kNodesPlace.example);
  Fleet fleet;
  fleet.schema = FleetSchema::kDeployRs;
  const auto read = [&top](const std::string& place, const Json& node, HostConfig& host) {
    return read_node(place, node, top, host);
  };
  RETURN_IF_ERROR(
      read_hosts(top.nodes, kNodesPlace, {.name = *HostName::parse("defaults")}, reading, read, fleet));
  return fleet;
}

}  // namespace flurry::eval
