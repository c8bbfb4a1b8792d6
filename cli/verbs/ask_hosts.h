#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "cli/verbs/context.h"
#include "core/sys/clock.h"

namespace flurry {

// Opens a session to every host of `fleet`, at most `parallel` at a time, and calls `ask` on a thread of
// its own with it, or with the error that kept us from one. The answers come in the fleet's order; none
// when the user interrupted.
template <typename Answer>
std::optional<std::vector<Answer>> ask_hosts(
    Context& context, const Fleet& fleet, const AgentBinary& agent, Millis timeout,
    const std::function<Answer(size_t host, Result<std::unique_ptr<HostSession>> session)>& ask) {
  std::vector<std::optional<Answer>> answers(fleet.hosts.size());
  std::atomic<size_t> next = 0;
  std::atomic<size_t> done = 0;
  std::atomic<bool> stop = false;
  const auto work = [&] {
    for (size_t host = next++; host < answers.size() && !stop; host = next++) {
      answers[host].emplace(
          ask(host, HostSession::open(context.transport, fleet.hosts[host], agent, sys::now() + timeout)));
      ++done;
    }
  };
  std::vector<std::jthread> threads;
  const size_t count = std::min(context.options.parallel, answers.size());
  for (size_t i = 0; i < count; ++i) threads.emplace_back(work);
  while (done < answers.size() && !stop)
    if (!context.happenings.pop_all(sys::now() + Millis(20)).empty()) stop = true;
  threads.clear();
  if (stop) return std::nullopt;
  std::vector<Answer> out;
  for (auto& answer : answers) out.push_back(*std::move(answer));
  return out;
}

}  // namespace flurry
