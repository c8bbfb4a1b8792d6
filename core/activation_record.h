#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/health_policy.h"
#include "core/names.h"
#include "core/outcome.h"
#include "core/profile.h"
#include "core/system_state.h"
#include "core/time.h"

namespace flurry {

// Where an activation stands on its host. Written to the journal before what it names begins, so a
// reader knows the most that can have happened. The order is the order of a good deployment.
enum class Phase {
  kPrepared,              // journalled; nothing touched, the deadman is being armed
  kSwitching,             // switch-to-configuration test may have begun
  kChecking,              // the switch ended well; health is being watched
  kAwaitingConfirmation,  // healthy; the controller must call by the deadline
  kConfirmed,             // from here the way is forward: commit
  kProfileSet,            // the profile names the new closure; the boot default may or may not
  kCommitted,             // the new closure is the boot default
  kRollingBack,           // going back to the recorded system
  kEnded,                 // see the outcome
};

// "awaiting-confirmation"
std::string_view to_string(Phase phase);

// A profile of a host and what it is to become. The system is tested before it is committed. A user profile
// can't be: its activation finds its files through the profile's link, so that is set first.
struct ProfileSpec : ProfileRef {
  StorePath new_path;
  bool has_activation = true;  // false: nothing runs, the link is all; the host finds out
  // The system in it, where new_path is a wrapper around one (deploy-rs's activate.nixos); the host finds
  // out.
  std::optional<StorePath> wrapped = {};
  // Where its system's own etc lies; nothing where it brings none. The host finds out.
  std::optional<std::string> etc = {};
  uint64_t taken_from = 0;  // a rollback: the generation that it goes back to; 0: no rollback

  // What /run/current-system names once this system runs.
  const StorePath& runs_as() const { return wrapped ? *wrapped : new_path; }
};

ProfileSpec system_profile(StorePath new_path);
ProfileState profile_state(const SystemState& state, const ProfileRef& profile);

// What a controller asks of an agent.
struct ActivationSpec {
  DeploymentId deployment;
  std::string nonce;                  // 128 random bits in hex; only who knows it can confirm
  std::string who;                    // "alice@laptop", for people
  std::string revision;               // of the flake, may be empty
  std::vector<ProfileSpec> profiles;  // in the order of their activation; names are unique; never empty
  std::optional<StorePath> expected_running;  // what preflight saw; another system now is a refusal
  Goal goal = Goal::kSwitch;
  bool magic_rollback = true;
  bool auto_rollback = true;
  bool allow_no_rollback = false;
  Millis activation_timeout{240'000};  // of each profile
  Millis confirm_timeout{30'000};
  HealthPolicy health;
};

// Why a first deployment to a host needs the user's word.
inline constexpr std::string_view kNoRunningSystem =
    "there is no running NixOS system to go back to (/run/current-system names none)";
inline constexpr std::string_view kAllowNoRollback = "; allow this with --allow-no-rollback";

// The journal's content for one deployment: enough to finish its story from nothing else.
struct ActivationRecord {
  ActivationSpec spec;
  Phase phase = Phase::kPrepared;
  size_t at = 0;                   // phase switching: index of the profile that is being activated
  std::optional<Phase> back_from;  // the phase in which it turned back, once it has; none also: not known
  int times_driven_back = 0;       // processes that began to go back; to go back may itself end the agent
  SystemState before;              // at the start, before anything was touched
  TimePoint deadline;              // on CLOCK_BOOTTIME of `before.boot_id`; the deadman acts on it
  std::string reason;              // why it failed or went back, empty while all is well
  std::string output;              // the last of what the switch printed; at most 16 KiB
  std::string not_undone;          // what going back can't undo, known while it was tried; empty: nothing
  bool holder_stopped = false;     // the process that drove it ended in good order
  std::optional<Outcome> outcome;
  long long started_unix_ms = 0;
  long long ended_unix_ms = 0;
};

}  // namespace flurry
