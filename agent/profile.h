#pragma once

#include <string>
#include <vector>

#include "agent/paths.h"
#include "core/activation.h"
#include "core/result.h"

namespace flurry::agent {

// Profiles on the host: their links, and what activates a user's. Any thread; each call has a bound.

// A user of the host, as its name service knows it.
struct Account {
  std::string name;
  std::string uid;
  std::string gid;
  std::string home;
};
// kInvalidInput where there is no such user.
Result<Account> find_account(const std::string& user);

// `argv` as that user, with nothing of root's but the terminal-less environment. What a user owns is only
// ever written so: a link in the user's directory can then lead nowhere that the user may not go.
std::vector<std::string> as_user(const Account& account, std::vector<std::string> argv);

// Where deploy-rs and Nix keep the profile NAME of that user (deploy-rs, bin/activate.rs get_profile_path),
// or home-manager its own.
std::string default_profile_path(const Paths& paths, const Account& account, const std::string& name);

// How the closure of a user profile is activated, if at all.
enum class ActivationKind {
  kNone,
  kScript,    // deploy-rs-activate: told by PROFILE, DRY_ACTIVATE and BOOT what is wanted
  kActivate,  // activate: home-manager's
};
ActivationKind activation_kind(const Paths& paths, const StorePath& closure);

// The command for one activation, to be run in a unit; empty where there is nothing to run.
struct ActivationCommand {
  std::vector<std::string> argv;
  std::string working_directory;
};
Result<ActivationCommand> activation_command(const Paths& paths, const ProfileRef& profile,
                                             const StorePath& closure, effect::SwitchAction action);

// What a profile's link was made to name and whose activation has not ended well since; kept on disk, so that
// no later deployment takes the link for an activation. A profile that others activated has no such note.
Result<void> note_unactivated(const Paths& paths, const ProfileRef& profile, const StorePath& closure);
void note_activated(const Paths& paths, const ProfileRef& profile);
bool is_activated(const Paths& paths, const ProfileRef& profile, const ProfileState& state);

// Makes `closure` the newest generation, unless the profile names it already. It counts as not activated
// then.
Result<void> set_profile(const Paths& paths, const ProfileRef& profile, const StorePath& closure);

// After an activation of `closure` that went well: one that made a generation of its own, as home-manager's
// does where it was wrapped for deploy-rs, leaves the profile with the one of `closure` alone.
Result<void> settle_profile(const Paths& paths, const ProfileRef& profile, const StorePath& closure,
                            long long since_unix_ms);

// Makes the profile name what it named before; takes a profile away that did not exist, and generations of
// `new_path` made since then.
Result<void> restore_profile(const Paths& paths, const ProfileRef& profile, const ProfileState& before,
                             const StorePath& new_path, long long since_unix_ms);

}  // namespace flurry::agent
