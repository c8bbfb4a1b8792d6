#include "tests/sim/timeline.h"

#include <cstdio>

namespace flurry::sim {

bool Timeline::turn() {
  if (events_.empty()) return false;
  const Event event = events_.top();
  events_.pop();
  now_ = event.when;
  ++steps_;
  event.what();
  return true;
}

void Timeline::tell(const std::string& who, const std::string& what) const {
  if (!is_traced_) return;
  const long long ms = now_.time_since_epoch().count() - 1'000'000;
  std::fprintf(stderr, "%8llu %9.3f %-6s %s\n", static_cast<unsigned long long>(steps_), ms / 1000.0,
               who.c_str(), what.c_str());
}

}  // namespace flurry::sim
