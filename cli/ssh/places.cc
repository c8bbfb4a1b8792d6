#include "cli/ssh/places.h"

#include <algorithm>

namespace flurry::ssh {

void Places::enter(const std::string& pool, size_t limit, Who who) {
  Pool& entered = pools_[pool];
  entered.limit = std::max<size_t>(limit, 1);
  entered.waiting.push_back(who);
}

void Places::leave(Who who) {
  for (auto it = pools_.begin(); it != pools_.end();) {
    Pool& pool = it->second;
    pool.holders.erase(who);
    std::erase(pool.waiting, who);
    it = pool.holders.empty() && pool.waiting.empty() ? pools_.erase(it) : std::next(it);
  }
}

std::vector<std::pair<std::string, Places::Who>> Places::admit(TimePoint now) {
  std::vector<std::pair<std::string, Who>> admitted;
  for (auto& [name, pool] : pools_) {
    if (pool.waiting.empty()) continue;
    std::erase_if(pool.holders, [now](const auto& holder) { return holder.second <= now; });
    while (!pool.waiting.empty() && pool.holders.size() < pool.limit) {
      const Who who = pool.waiting.front();
      pool.waiting.pop_front();
      pool.holders.insert_or_assign(who, now + lease_);
      admitted.emplace_back(name, who);
    }
  }
  return admitted;
}

std::optional<TimePoint> Places::next() const {
  std::optional<TimePoint> next;
  for (const auto& [name, pool] : pools_) {
    if (pool.waiting.empty()) continue;
    for (const auto& [who, until] : pool.holders) next = std::min(next.value_or(until), until);
  }
  return next;
}

}  // namespace flurry::ssh
