#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/health_policy.h"
#include "core/names.h"
#include "core/result.h"
#include "core/time.h"

namespace flurry {

// What one flake declares. Plain values; whoever made a Fleet has checked it: names are unique,
// `requires` name hosts of the fleet and have no cycle, every number is within its bounds.

constexpr size_t kHostsMax = 10'000;

enum class BuildOn { kLocal, kTarget };

struct ProfileConfig {
  std::string user = "root";      // who owns the profile
  bool has_path = false;          // false: nixosConfigurations.<host>'s toplevel; only legal for "system"
  bool is_default_path = false;   // the path stands in flurry.defaults
  std::string link;               // of a user's profile; empty: where Nix keeps it for that user
  bool needs_activation = false;  // of a user's profile: one that brings nothing to run is a mistake
  bool operator==(const ProfileConfig&) const = default;
};

struct HostConfig {
  HostName name;
  // What is wrong with what the flake says of it. Such a host ends with it, untouched, and stops no other;
  // the rest may be what it says or a default.
  std::optional<Error> error = {};
  std::vector<std::string> notes = {};         // what its user should know, a sentence each
  std::vector<std::string> target_hosts = {};  // tried in order; default: the name; empty: no SSH leads there
  std::optional<uint16_t> target_port;         // what is absent is asked of the ssh configuration
  std::optional<std::string> target_user;
  std::vector<std::string> ssh_options;  // as after "ssh": {"-o", "ProxyJump=bastion"}
  std::optional<std::string> identity_file;
  // Put before a command that needs root, when the user isn't root. Empty: never.
  std::vector<std::string> privilege_escalation_command{"sudo", "-n", "--"};
  BuildOn build_on = BuildOn::kLocal;
  bool substitute_on_target = false;
  std::vector<std::string> tags;  // sorted, unique
  std::map<std::string, ProfileConfig> profiles{{"system", {}}};
  std::vector<std::string> profiles_order;  // these first, the rest by name
  HealthPolicy health;
  Millis confirm_timeout{30'000};
  Millis activation_timeout{240'000};
  bool magic_rollback = true;
  bool auto_rollback = true;
  bool allow_offline = false;
  std::vector<HostName> requires_hosts;  // `requires` in the flake: these must have succeeded before
  bool operator==(const HostConfig&) const = default;
};

// So many hosts, or so many of a hundred.
struct HostShare {
  uint32_t amount = 0;
  bool percent = false;
  bool operator==(const HostShare&) const = default;
};

enum class OnFailure {
  kStop,      // start nothing new
  kRollback,  // and take back what this deployment has changed elsewhere
};

struct RolloutConfig {
  std::string canary;                           // a selector; empty: none
  std::vector<HostShare> batches{{100, true}};  // cumulative; never empty
  uint32_t max_failures = 0;
  std::optional<HostShare> max_unavailable;
  OnFailure on_failure = OnFailure::kStop;
  Millis bake{0};                  // wait between waves
  std::vector<std::string> order;  // selectors; hosts of the first go first
  bool skip_offline = false;
  bool operator==(const RolloutConfig&) const = default;
};

enum class FleetSchema { kFlurry, kDeployRs, kColmena, kNixosConfigurations };

struct Fleet {
  std::string flake_ref;  // as the user gave it, for messages
  std::string eval_ref;   // what to evaluate further: the locked flake where Nix can lock it
  std::string lock;       // the flake and all of its inputs by their contents; empty where some may change
  std::string revision;   // 40 hex digits, with "-dirty" for a changed work tree; "dirty" alone; or empty
  FleetSchema schema = FleetSchema::kFlurry;
  std::vector<HostConfig> hosts;            // sorted by name; at most kHostsMax
  std::vector<std::string> unusable_names;  // entries whose names can't be a host's: left out
  std::vector<std::string> notes;           // what the user should know of it, a sentence each
  RolloutConfig rollout;
  std::string builders;          // remote ones, as Nix's setting of that name has them; empty: Nix's own
  bool needs_selection = false;  // all of it at once is not to be switched without being asked for
};

// What is likely a mistake, and may be meant: two hosts with the first address in common, a sentence each.
std::vector<std::string> doubtful_addresses(const Fleet& fleet);

}  // namespace flurry
