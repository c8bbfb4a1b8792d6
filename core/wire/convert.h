#pragma once

#include <string>
#include <string_view>

#include "core/activation_record.h"
#include "core/result.h"

namespace flurry::v1 {
class ActivationSpec;
class ProfileRef;
class HealthPolicy;
class JournalRecord;
class SystemState;
}  // namespace flurry::v1

namespace flurry::wire {

// Between what stands on disk or comes over the wire and the core's types, for controller and agent alike.
// Reading is strict: what can't be understood is kInvalidInput, and its message names the field. Writing
// never fails; free text is bounded and made valid UTF-8. Any thread.

Result<ProfileRef> from_proto(const v1::ProfileRef& in);
Result<ActivationSpec> from_proto(const v1::ActivationSpec& in);
Result<HealthPolicy> from_proto(const v1::HealthPolicy& in);
Result<SystemState> from_proto(const v1::SystemState& in);
Result<ActivationRecord> from_proto(const v1::JournalRecord& in);

// Checks that the controller runs itself, and those the agent doesn't know, have no place in a message.
void to_proto(const ProfileRef& in, v1::ProfileRef& out);
void to_proto(const HealthPolicy& in, v1::HealthPolicy& out);
void to_proto(const ActivationSpec& in, v1::ActivationSpec& out);
void to_proto(const SystemState& in, v1::SystemState& out);
void to_proto(const ActivationRecord& in, v1::JournalRecord& out);

// A profile's link: absolute, plain, below some directory.
Result<std::string> parse_profile_path(std::string_view text);

// A v1.Phase by its number, and back.
Result<Phase> phase_from(int number);
int phase_number(Phase phase);

}  // namespace flurry::wire
