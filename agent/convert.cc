#include "agent/convert.h"

#include <algorithm>

#include "core/wire/convert.h"
#include "core/wire/text.h"
#include "flurry/v1/agent.pb.h"
#include "flurry/v1/journal.pb.h"

namespace flurry::agent {
namespace {

constexpr size_t kTextMax = 256;
constexpr size_t kReasonMax = 8 << 10;
constexpr size_t kOutputMax = 24 << 10;

// A deployment has one line: its system where that is deployed, else the first of its profiles.
const ProfileSpec& told_profile(const ActivationSpec& spec) {
  const auto it = std::find_if(spec.profiles.begin(), spec.profiles.end(),
                               [](const ProfileSpec& profile) { return profile.is_system(); });
  return it == spec.profiles.end() ? spec.profiles.front() : *it;
}

}  // namespace

std::string encode_record(const ActivationRecord& record) {
  v1::JournalRecord out;
  wire::to_proto(record, out);
  return out.SerializeAsString();
}

Result<ActivationRecord> decode_record(std::string_view bytes) {
  v1::JournalRecord in;
  if (!in.ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return Error{ErrorKind::kInvalidInput, "record is not a flurry.v1.JournalRecord"};
  return wire::from_proto(in);
}

void to_proto(const Observation& in, v1::Observation& out) {
  const ActivationRecord& record = in.record;
  out.set_known(true);
  out.set_deployment(record.spec.deployment.str());
  out.set_revision(in.revision);
  out.set_phase(static_cast<v1::Phase>(wire::phase_number(record.phase)));
  if (record.back_from) out.set_back_from(static_cast<v1::Phase>(wire::phase_number(*record.back_from)));
  if (record.outcome) out.set_outcome(std::string(to_string(*record.outcome)));
  out.set_reason(wire::clean_text(record.reason, kReasonMax));
  out.set_output(wire::clean_text(record.output, kOutputMax));
  out.set_remaining_ms(static_cast<uint32_t>(std::clamp<long long>(in.remaining.count(), 0, UINT32_MAX)));
  for (const auto& line : in.health) out.add_health(wire::clean_text(line, kReasonMax));
  out.set_who(wire::clean_text(record.spec.who, kTextMax));
  out.set_flake_revision(wire::clean_text(record.spec.revision, kTextMax));
  const ProfileSpec& told = told_profile(record.spec);
  const auto from = told.is_system() ? record.before.running : profile_state(record.before, told).path;
  if (from) out.set_from_path(from->str());
  out.set_to_path(told.new_path.str());
  for (const auto& profile : record.spec.profiles) {
    auto& change = *out.add_profiles();
    change.set_name(profile.name);
    const auto named = profile_state(record.before, profile).path;
    if (named) change.set_from_path(named->str());
    change.set_to_path(profile.new_path.str());
    change.set_taken_from(profile.taken_from);
  }
  out.set_goal(std::string(to_string(record.spec.goal)));
  out.set_started_unix_ms(record.started_unix_ms);
  out.set_ended_unix_ms(record.ended_unix_ms);
}

void to_proto(const HostFacts& in, v1::InspectReply& out) {
  wire::to_proto(in.state, *out.mutable_state());
  if (in.wrapped) out.set_wrapped(in.wrapped->str());
  out.set_system(in.system);
  out.set_unix_ms(in.unix_ms);
  out.set_store_free_bytes(in.store_free_bytes);
  for (const auto& generation : in.generations) {
    auto* entry = out.add_generations();
    entry->set_number(generation.number);
    entry->set_path(wire::clean_text(generation.path, 4096));
    entry->set_created_unix_ms(generation.created_unix_ms);
    entry->set_profile(wire::clean_text(generation.profile, kTextMax));
  }
  out.set_half_switched(wire::clean_text(in.half_switched, kReasonMax));
  for (const auto& user : in.unknown_users) out.add_unknown_users(wire::clean_text(user, kTextMax));
  out.set_booted(wire::clean_text(in.booted, 4096));
  out.set_reboot_needed(in.reboot_needed);
  out.set_system_running(wire::clean_text(in.system_running, kTextMax));
}

}  // namespace flurry::agent
