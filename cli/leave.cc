#include "cli/leave.h"

#include <cstdio>
#include <cstdlib>

#include "core/sys/children.h"

namespace flurry {
namespace {

// nix-store ends its builders before itself.
constexpr Millis kPatience{3'000};

}  // namespace

void leave(int exit_code) {
  sys::end_children(kPatience);
  std::fflush(nullptr);
  std::_Exit(exit_code);
}

}  // namespace flurry
