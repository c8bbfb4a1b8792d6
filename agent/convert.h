#pragma once

#include <string>
#include <string_view>

#include "agent/observation.h"
#include "agent/system.h"
#include "core/activation_record.h"
#include "core/result.h"

namespace flurry::v1 {
class InspectReply;
class Observation;
}  // namespace flurry::v1

namespace flurry::agent {

// The agent's own messages; what both sides of the wire convert is in core/wire. Any thread.

// A journal's payload. Reading is strict.
std::string encode_record(const ActivationRecord& record);
Result<ActivationRecord> decode_record(std::string_view bytes);

void to_proto(const Observation& in, v1::Observation& out);
void to_proto(const HostFacts& in, v1::InspectReply& out);

}  // namespace flurry::agent
