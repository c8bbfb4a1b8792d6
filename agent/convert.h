#pragma once

#include <string>
#include <string_view>

#include "agent/observation.h"
#include "agent/system.h"
#include "core/activation_record.h"
#include "core/result.h"

namespace flurry::v1 {
class ActivationSpec;
class HealthPolicy;
class InspectReply;
class JournalRecord;
class Observation;
class SystemState;
}  // namespace flurry::v1

namespace flurry::agent {

// Between what stands on disk or comes over the wire and the core's types. Reading is strict: what can't
// be understood is kInvalidInput, and its message names the field. Writing never fails; free text is
// bounded and made valid UTF-8, since a reader would refuse the whole message otherwise. Any thread.

std::string encode_record(const ActivationRecord& record);
Result<ActivationRecord> decode_record(std::string_view bytes);

Result<ActivationSpec> from_proto(const v1::ActivationSpec& in);
Result<HealthPolicy> from_proto(const v1::HealthPolicy& in);
Result<SystemState> from_proto(const v1::SystemState& in);
Result<ActivationRecord> from_proto(const v1::JournalRecord& in);

// Checks that the controller runs itself, and those the agent doesn't know, have no place in a message.
void to_proto(const HealthPolicy& in, v1::HealthPolicy& out);
void to_proto(const ActivationSpec& in, v1::ActivationSpec& out);
void to_proto(const SystemState& in, v1::SystemState& out);
void to_proto(const ActivationRecord& in, v1::JournalRecord& out);
void to_proto(const Observation& in, v1::Observation& out);
void to_proto(const HostFacts& in, v1::InspectReply& out);

// A profile's link: absolute, plain, below some directory.
Result<std::string> parse_profile_path(std::string_view text);

// `text` with every byte that is not part of valid UTF-8, and every control character but newline and
// tab, replaced by '?'; cut to its last `max` bytes.
std::string clean_text(std::string_view text, size_t max);

}  // namespace flurry::agent
