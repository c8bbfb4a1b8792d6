#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/time.h"

namespace flurry::ssh {

// Who may work at the same time. A pool has a limit of its own, so those that wait in one never hold up
// another. A place is lent for `lease`: who keeps it for longer is slow, goes on, and doesn't count any
// more. So a hundred hosts that stall delay the others by a few leases, not by their deadlines.
// No I/O, no threads; time is a parameter.
class Places {
 public:
  using Who = uint32_t;

  explicit Places(Millis lease) : lease_(lease) {}

  // Joins the queue of `pool`, which lets `limit` in at a time.
  void enter(const std::string& pool, size_t limit, Who who);
  // Gives back what it holds and waits for, in every pool.
  void leave(Who who);

  // Those whose turn it is now, each told once with its pool.
  std::vector<std::pair<std::string, Who>> admit(TimePoint now);
  // When admit() may let somebody in though nobody leaves; none while nobody waits.
  std::optional<TimePoint> next() const;

 private:
  struct Pool {
    size_t limit = 1;
    std::map<Who, TimePoint> holders;  // until when each counts
    std::deque<Who> waiting;
  };

  const Millis lease_;
  std::map<std::string, Pool> pools_;
};

}  // namespace flurry::ssh
