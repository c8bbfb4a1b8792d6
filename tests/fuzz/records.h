#pragma once

#include <algorithm>

#include "core/activation_record.h"
#include "core/wire/text.h"

namespace flurry::fuzz {

// Comparing what was read twice. Free text is cleaned when it is written; nothing else may change.

inline HealthPolicy cleaned(HealthPolicy policy) {
  for (auto& check : policy.checks) check.name = wire::clean_text(check.name, check.name.size());
  return policy;
}

inline ActivationSpec cleaned(ActivationSpec spec) {
  for (auto* text : {&spec.who, &spec.revision}) *text = wire::clean_text(*text, text->size());
  for (auto& profile : spec.profiles)
    if (profile.etc) profile.etc = wire::clean_text(*profile.etc, profile.etc->size());
  spec.health = cleaned(spec.health);
  return spec;
}

inline SystemState cleaned(SystemState state) {
  state.boot_id = wire::clean_text(state.boot_id, state.boot_id.size());
  const auto clean = [](std::string& text) { text = wire::clean_text(text, text.size()); };
  for (auto& unit : state.failed_units) clean(unit);
  for (auto& list : state.leftovers) clean(list);
  for (auto& job : state.jobs) clean(job.unit), clean(job.type);
  for (auto& unit : state.steady_units) clean(unit.name);
  if (state.etc) clean(*state.etc);
  return state;
}

inline ActivationRecord cleaned(ActivationRecord record) {
  record.spec = cleaned(record.spec);
  record.before = cleaned(record.before);
  for (auto* text : {&record.reason, &record.output, &record.not_undone})
    *text = wire::clean_text(*text, text->size());
  return record;
}

inline bool is_same(const ProfileSpec& a, const ProfileSpec& b) {
  return a.name == b.name && a.user == b.user && a.path == b.path && a.new_path == b.new_path &&
         a.has_activation == b.has_activation && a.wrapped == b.wrapped && a.etc == b.etc;
}

inline bool is_same(const ActivationSpec& a, const ActivationSpec& b) {
  return a.deployment == b.deployment && a.nonce == b.nonce && a.who == b.who && a.revision == b.revision &&
         std::equal(a.profiles.begin(), a.profiles.end(), b.profiles.begin(), b.profiles.end(),
                    [](const ProfileSpec& x, const ProfileSpec& y) { return is_same(x, y); }) &&
         a.expected_running == b.expected_running && a.goal == b.goal &&
         a.magic_rollback == b.magic_rollback && a.auto_rollback == b.auto_rollback &&
         a.allow_no_rollback == b.allow_no_rollback && a.activation_timeout == b.activation_timeout &&
         a.confirm_timeout == b.confirm_timeout && a.health == b.health;
}

inline bool is_same(const SystemState& a, const SystemState& b) {
  return a.running == b.running && a.profile == b.profile && a.generation == b.generation &&
         a.boot_id == b.boot_id && a.failed_units == b.failed_units && a.user_profiles == b.user_profiles &&
         a.etc == b.etc && a.boot_default == b.boot_default && a.leftovers == b.leftovers &&
         a.jobs == b.jobs && a.steady_units == b.steady_units;
}

inline bool is_same(const ActivationRecord& a, const ActivationRecord& b) {
  return is_same(a.spec, b.spec) && a.phase == b.phase && is_same(a.before, b.before) &&
         a.deadline == b.deadline && a.at == b.at && a.back_from == b.back_from &&
         a.times_driven_back == b.times_driven_back && a.reason == b.reason && a.output == b.output &&
         a.not_undone == b.not_undone && a.holder_stopped == b.holder_stopped && a.outcome == b.outcome &&
         a.started_unix_ms == b.started_unix_ms && a.ended_unix_ms == b.ended_unix_ms;
}

}  // namespace flurry::fuzz
