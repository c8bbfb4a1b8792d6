#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/activation_record.h"

namespace flurry::agent {

// A deployment as it stands, for whoever asks.
struct Observation {
  uint64_t revision = 0;
  ActivationRecord record;
  Millis remaining{0};              // until the present phase's deadline
  std::vector<std::string> health;  // what keeps it from being healthy while it is being checked
};

}  // namespace flurry::agent
