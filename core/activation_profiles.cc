#include <algorithm>

#include "core/activation.h"

// Which of a host's profiles a deployment changes, and in what order it does so.

namespace flurry {
// Decided by what the journal holds, so that every life of the driver decides it alike.
bool Activation::changes(size_t index) const {
  const ProfileSpec& spec = profile(index);
  const bool is_set =
      profile_state(record_.before, spec).path == spec.new_path && boots_new_system(record_.before, index);
  const bool runs =
      record_.before.running == spec.runs_as() && half_switched(record_.before, spec.etc).empty();
  switch (record_.spec.goal) {
    case Goal::kDryActivate:
      return true;
    case Goal::kTest:
      return spec.is_system() && !runs;  // a user profile can't be activated without being set
    case Goal::kBoot:
      return !is_set;
    default:
      return !is_set || (spec.is_system() ? !runs : !is_active(index));
  }
}

// A user profile that its link names may never have been activated: it was only to be set, or its activation
// failed and nothing was to be undone.
bool Activation::is_active(size_t index) const {
  const ProfileSpec& spec = profile(index);
  return !spec.has_activation || profile_state(record_.before, spec).is_activated;
}

std::optional<size_t> Activation::first_changed(size_t from) const {
  for (size_t i = from; i < record_.spec.profiles.size(); ++i)
    if (changes(i)) return i;
  return std::nullopt;
}

std::optional<size_t> Activation::system_index() const {
  for (size_t i = 0; i < record_.spec.profiles.size(); ++i)
    if (profile(i).is_system()) return i;
  return std::nullopt;
}

bool Activation::changes_system() const {
  const auto index = system_index();
  return index && changes(*index);
}

// Also where the system is not this deployment's to change.
bool Activation::runs_new_system(const SystemState& state) const {
  if (!changes_system()) return true;
  const ProfileSpec& system = profile(*system_index());
  const bool is_etc_known = system.etc && state.etc;
  return state.running == system.runs_as() && (!is_etc_known || state.etc == system.etc);
}

// True also where nobody can tell.
bool Activation::boots_new_system(const SystemState& state, size_t index) const {
  const ProfileSpec& spec = profile(index);
  return !spec.is_system() || !state.boot_default || state.boot_default == spec.runs_as() ||
         state.boot_default == spec.new_path;
}

std::string Activation::what_a_test_leaves_alone() const {
  std::string names;
  for (const auto& spec : record_.spec.profiles)
    if (!spec.is_system() && profile_state(record_.before, spec).path != spec.new_path)
      names += (names.empty() ? "" : ", ") + spec.name;
  if (record_.spec.goal != Goal::kTest || names.empty()) return "";
  return "left alone, because a user profile can't be activated without being set: " + names +
         "; deploy with --goal switch";
}

Millis Activation::for_each_profile(Millis timeout) const {
  long long count = 0;
  for (size_t i = 0; i < record_.spec.profiles.size(); ++i) count += changes(i);
  return timeout * std::max(1LL, count);
}

// Begins a message about one profile; nothing where there is but the system.
std::string Activation::about(size_t index) const {
  return profile(index).is_system() ? "" : "profile " + profile(index).name + ": ";
}

}  // namespace flurry
