#include "eval/host_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/selector.h"
#include "eval/health_json.h"
#include "eval/json_reader.h"

namespace flurry::eval {
namespace {

constexpr size_t kAddressesMax = 16;
// As the agent takes them (core/wire).
constexpr size_t kProfilesMax = 64;
constexpr size_t kProfileNameMax = 64;
constexpr size_t kUserNameMax = 32;
constexpr int64_t kTimeoutMinMs = 1000;
constexpr int64_t kTimeoutMaxMs = Millis(std::chrono::hours(24)).count();
// The agent's deadman must not be set off by one slow dial.
constexpr int64_t kConfirmMinMs = 5000;

template <typename T, auto Member>
Result<void> bool_field(const Json& value, const std::string& place, T& into) {
  ASSIGN_OR_RETURN(into.*Member, read_bool(value, place));
  return {};
}

template <typename T, auto Member>
Result<void> texts_field(const Json& value, const std::string& place, T& into) {
  ASSIGN_OR_RETURN(into.*Member, read_texts(value, place));
  return {};
}

template <typename T, auto Member, int64_t MinMs, int64_t MaxMs>
Result<void> duration_field(const Json& value, const std::string& place, T& into) {
  ASSIGN_OR_RETURN(into.*Member, read_duration(value, place, Millis(MinMs), Millis(MaxMs)));
  return {};
}

Result<void> read_target_host(const Json& value, const std::string& place, HostConfig& into) {
  ASSIGN_OR_RETURN(into.target_hosts, read_text_or_texts(value, place));
  if (into.target_hosts.empty())
    return wrong(place, "must not be an empty list (leave it out for the host's name)");
  if (into.target_hosts.size() > kAddressesMax)
    return wrong(place, "has more than " + std::to_string(kAddressesMax) + " entries");
  for (const auto& address : into.target_hosts) {
    if (address.find('@') != std::string::npos)
      return wrong(place, quote(address) + ": the user belongs into targetUser");
    if (address.front() == '-' || address.find_first_of(" /") != std::string::npos)
      return wrong(place, quote(address) + " is no host name or address");
  }
  return {};
}

Result<void> read_target_port(const Json& value, const std::string& place, HostConfig& into) {
  ASSIGN_OR_RETURN(const int64_t port, read_integer(value, place, 1, 65535));
  into.target_port = static_cast<uint16_t>(port);
  return {};
}

Result<std::string> read_user(const Json& value, const std::string& place) {
  ASSIGN_OR_RETURN(auto user, read_text(value, place));
  if (user.front() == '-' || user.find_first_of(" :/") != std::string::npos)
    return wrong(place, quote(user) + " is no user name");
  return user;
}

Result<void> read_target_user(const Json& value, const std::string& place, HostConfig& into) {
  ASSIGN_OR_RETURN(into.target_user, read_user(value, place));
  return {};
}

Result<void> read_identity_file(const Json& value, const std::string& place, HostConfig& into) {
  ASSIGN_OR_RETURN(into.identity_file, read_text(value, place));
  return {};
}

Result<void> read_build_on(const Json& value, const std::string& place, HostConfig& into) {
  ASSIGN_OR_RETURN(const size_t index, read_word(value, place, {"local", "target"}));
  into.build_on = index == 0 ? BuildOn::kLocal : BuildOn::kTarget;
  return {};
}

Result<void> read_tags(const Json& value, const std::string& place, HostConfig& into) {
  ASSIGN_OR_RETURN(into.tags, read_texts(value, place));
  for (const auto& tag : into.tags)
    if (tag.find_first_of(" !&,()@*?[]") != std::string::npos)
      return wrong(place, quote(tag) + ": a tag may hold no blank and none of !&,()@*?[]");
  std::sort(into.tags.begin(), into.tags.end());
  into.tags.erase(std::unique(into.tags.begin(), into.tags.end()), into.tags.end());
  return {};
}

Result<void> read_profile_user(const Json& value, const std::string& place, ProfileConfig& into) {
  ASSIGN_OR_RETURN(into.user, read_text(value, place));
  return check_profile_user(into.user, place);
}

Result<void> read_profile_path(const Json&, const std::string&, ProfileConfig& into) {
  into.has_path = true;
  into.is_default_path = false;
  return {};
}

constexpr Field<ProfileConfig> kProfileFields[] = {{"user", read_profile_user}, {"path", read_profile_path}};

Result<void> read_profiles(const Json& value, const std::string& place, HostConfig& into) {
  RETURN_IF_ERROR(expect_object(value, place));
  if (value.size() > kListMax) return wrong(place, "has more than " + std::to_string(kListMax) + " entries");
  for (auto it = value.begin(); it != value.end(); ++it) {
    if (is_unset(it.value())) continue;
    const std::string here = place_of(place, it.key());
    RETURN_IF_ERROR(check_profile_name(it.key(), here));
    if (it.value().is_string())
      return wrong(here, "must be an attribute set: write " + it.key() + ".path = ...");
    RETURN_IF_ERROR(read_fields<ProfileConfig>(it.value(), here, kProfileFields, into.profiles[it.key()]));
  }
  return {};
}

Result<void> read_host_health(const Json& value, const std::string& place, HostConfig& into) {
  return read_health(value, place, into.health);
}

Result<void> read_requires(const Json& value, const std::string& place, HostConfig& into) {
  ASSIGN_OR_RETURN(const auto texts, read_texts(value, place));
  into.requires_hosts.clear();
  for (const auto& text : texts) {
    auto name = HostName::parse(text);
    if (!name) return wrong(place, name.error().message);
    into.requires_hosts.push_back(*std::move(name));
  }
  return {};
}

constexpr Field<HostConfig> kHostFields[] = {
    {"targetHost", read_target_host},
    {"targetPort", read_target_port},
    {"targetUser", read_target_user},
    {"sshOptions", texts_field<HostConfig, &HostConfig::ssh_options>},
    {"identityFile", read_identity_file},
    {"privilegeEscalationCommand", texts_field<HostConfig, &HostConfig::privilege_escalation_command>},
    {"buildOn", read_build_on},
    {"substituteOnTarget", bool_field<HostConfig, &HostConfig::substitute_on_target>},
    {"tags", read_tags},
    {"profiles", read_profiles},
    {"profilesOrder", texts_field<HostConfig, &HostConfig::profiles_order>},
    {"health", read_host_health},
    {"confirmTimeout",
     duration_field<HostConfig, &HostConfig::confirm_timeout, kConfirmMinMs, kTimeoutMaxMs>},
    {"activationTimeout",
     duration_field<HostConfig, &HostConfig::activation_timeout, kTimeoutMinMs, kTimeoutMaxMs>},
    {"magicRollback", bool_field<HostConfig, &HostConfig::magic_rollback>},
    {"autoRollback", bool_field<HostConfig, &HostConfig::auto_rollback>},
    {"allowOffline", bool_field<HostConfig, &HostConfig::allow_offline>},
    {"requires", read_requires},
};

// 3, or "25%".
Result<HostShare> read_share(const Json& value, const std::string& place) {
  if (!value.is_string()) {
    if (!value.is_number_integer()) return wrong_type(place, "a number of hosts or \"25%\"", value);
    ASSIGN_OR_RETURN(const int64_t hosts, read_integer(value, place, 1, kHostsMax));
    return HostShare{static_cast<uint32_t>(hosts), false};
  }
  const auto& text = value.get_ref<const std::string&>();
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const int percent = digits > 0 && digits <= 3 && text.substr(digits) == "%" ? std::stoi(text) : 0;
  if (percent < 1 || percent > 100) return wrong(place, quote(text) + " is none of \"1%\" to \"100%\"");
  return HostShare{static_cast<uint32_t>(percent), true};
}

Result<std::string> read_selector(const Json& value, const std::string& place) {
  ASSIGN_OR_RETURN(auto text, read_text(value, place));
  const auto selector = Selector::parse(text);
  if (!selector) return wrong(place, selector.error().message);
  return text;
}

Result<void> read_canary(const Json& value, const std::string& place, RolloutConfig& into) {
  ASSIGN_OR_RETURN(into.canary, read_selector(value, place));
  return {};
}

Result<void> read_batches(const Json& value, const std::string& place, RolloutConfig& into) {
  if (!value.is_array()) return wrong_type(place, "a list", value);
  if (value.empty() || value.size() > kListMax)
    return wrong(place, "must have 1 to " + std::to_string(kListMax) + " entries");
  into.batches.clear();
  for (const auto& entry : value) {
    ASSIGN_OR_RETURN(const auto share,
                     read_share(entry, place + "[" + std::to_string(into.batches.size()) + "]"));
    into.batches.push_back(share);
  }
  return {};
}

Result<void> read_max_failures(const Json& value, const std::string& place, RolloutConfig& into) {
  ASSIGN_OR_RETURN(const int64_t hosts, read_integer(value, place, 0, kHostsMax));
  into.max_failures = static_cast<uint32_t>(hosts);
  return {};
}

Result<void> read_max_unavailable(const Json& value, const std::string& place, RolloutConfig& into) {
  ASSIGN_OR_RETURN(into.max_unavailable, read_share(value, place));
  return {};
}

Result<void> read_on_failure(const Json& value, const std::string& place, RolloutConfig& into) {
  ASSIGN_OR_RETURN(const size_t index, read_word(value, place, {"stop", "rollback"}));
  into.on_failure = index == 0 ? OnFailure::kStop : OnFailure::kRollback;
  return {};
}

Result<void> read_order(const Json& value, const std::string& place, RolloutConfig& into) {
  if (!value.is_array()) return wrong_type(place, "a list of selectors", value);
  if (value.size() > kListMax) return wrong(place, "has more than " + std::to_string(kListMax) + " entries");
  into.order.clear();
  for (const auto& entry : value) {
    ASSIGN_OR_RETURN(auto text, read_selector(entry, place + "[" + std::to_string(into.order.size()) + "]"));
    into.order.push_back(std::move(text));
  }
  return {};
}

constexpr Field<RolloutConfig> kRolloutFields[] = {
    {"canary", read_canary},
    {"batches", read_batches},
    {"maxFailures", read_max_failures},
    {"maxUnavailable", read_max_unavailable},
    {"onFailure", read_on_failure},
    {"bake", duration_field<RolloutConfig, &RolloutConfig::bake, 0, kDurationMax.count()>},
    {"order", read_order},
    {"skipOffline", bool_field<RolloutConfig, &RolloutConfig::skip_offline>},
};

bool is_plain(const std::string& text, size_t max) { return HostName::parse(text) && text.size() <= max; }

}  // namespace

Result<void> check_profile_name(const std::string& name, const std::string& place) {
  if (is_plain(name, kProfileNameMax)) return {};
  return wrong(place, "a profile's name may hold only letters, digits, '.', '_' and '-', and at most " +
                          std::to_string(kProfileNameMax) + " of them");
}

Result<void> check_profile_user(const std::string& user, const std::string& place) {
  if (is_plain(user, kUserNameMax)) return {};
  return wrong(place, quote(user) + " is no user name");
}

Result<void> read_host(const Json& value, const std::string& place, HostConfig& into) {
  return read_fields<HostConfig>(value, place, kHostFields, into);
}

Result<void> read_rollout(const Json& value, const std::string& place, RolloutConfig& into) {
  return read_fields<RolloutConfig>(value, place, kRolloutFields, into);
}

namespace {

// The right spelling, or what there is to choose from.
std::string nearest_or_all(const std::string& name, const std::vector<std::string>& known) {
  std::string hint = did_you_mean(name, known);
  if (!hint.empty()) return hint;
  for (const auto& one : known) hint += (hint.empty() ? " (there is " : ", ") + one;
  return hint.empty() ? hint : hint + ")";
}

}  // namespace

Result<void> finish_host(const std::string& place, HostConfig& host) {
  if (host.target_hosts.empty()) host.target_hosts.push_back(host.name.str());
  if (host.profiles.size() > kProfilesMax)
    return wrong(place + ".profiles", "has more than " + std::to_string(kProfilesMax) + " entries");
  std::vector<std::string> names;
  for (const auto& [name, profile] : host.profiles) {
    names.push_back(name);
    if (name != "system" && !profile.has_path)
      return wrong(place_of(place + ".profiles", name) + ".path",
                   "is missing: write path = the profile's package");
  }
  for (const auto& name : host.profiles_order)
    if (!host.profiles.contains(name))
      return wrong(place + ".profilesOrder",
                   "no profile is named " + quote(name) + nearest_or_all(name, names));
  return validate_health(host.health, place + ".health");
}

}  // namespace flurry::eval
