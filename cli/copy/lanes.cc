#include "cli/copy/lanes.h"

#include "core/sys/clock.h"

namespace flurry::copy {
namespace {

// A channel that takes longer helps no more.
constexpr Millis kOpenTimeout{15'000};

// The import can read from it.
bool is_ready(RemoteProcess& process, TimePoint deadline) {
  char answer = 0;
  const auto n = sys::read_some(process.io().get(), {&answer, 1}, deadline);
  return n && *n == 1 && answer == '\n';
}

}  // namespace

Lanes::Lanes(Connection& connection, const AgentCommand& command, std::string address, uint8_t count)
    : thread_([this, &connection, command, address = std::move(address), count](const std::stop_token& stop) {
        for (uint8_t number = 1; number <= count && !stop.stop_requested(); ++number) {
          const TimePoint deadline = sys::now() + kOpenTimeout;
          auto process =
              connection.exec(command("import-lane " + address + " " + std::to_string(number)), deadline);
          if (!process || !is_ready(**process, deadline)) return;
          opened_.push({number, std::move(*process)});
        }
      }) {}

Lanes::~Lanes() {
  thread_.request_stop();
  thread_.join();
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
