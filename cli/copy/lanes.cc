#include "cli/copy/lanes.h"

#include "cli/greeting.h"
#include "core/sys/clock.h"

namespace flurry::copy {
namespace {

// A channel that takes longer helps no more.
constexpr Millis kOpenTimeout{15'000};

// The import can read from it.
bool is_ready(RemoteProcess& process, TimePoint deadline) {
  const auto greeting = pass_over_greeting(process.io().get(), deadline);
  return greeting && greeting->has_begun;
}

}  // namespace

// Each on a thread of its own: one after the other they would take three round trips each.
Lanes::Lanes(Connection& connection, const AgentCommand& command, const std::string& address, uint8_t count) {
  for (uint8_t number = 1; number <= count; ++number)
    threads_.emplace_back([this, &connection, number,
                           words = command("import-lane " + address + " " + std::to_string(number))] {
      const TimePoint deadline = sys::now() + kOpenTimeout;
      auto process = connection.exec(words, deadline);
      if (process && is_ready(**process, deadline)) opened_.push({number, std::move(*process)});
    });
}

std::vector<Lanes::Ready> Lanes::take_ready() {
  std::vector<Ready> ready;
  for (auto& opened : opened_.pop_all(sys::now())) {
    ready.push_back({opened.number, opened.process->io().get()});
    processes_.push_back(std::move(opened.process));
  }
  return ready;
}

}  // namespace flurry::copy
