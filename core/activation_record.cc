#include "core/activation_record.h"

namespace flurry {

std::string_view to_string(Phase phase) {
  switch (phase) {
    case Phase::kPrepared:
      return "prepared";
    case Phase::kSwitching:
      return "switching";
    case Phase::kChecking:
      return "checking";
    case Phase::kAwaitingConfirmation:
      return "awaiting-confirmation";
    case Phase::kConfirmed:
      return "confirmed";
    case Phase::kProfileSet:
      return "profile-set";
    case Phase::kCommitted:
      return "committed";
    case Phase::kRollingBack:
      return "rolling-back";
    case Phase::kEnded:
      return "ended";
  }
  return "?";
}

}  // namespace flurry
