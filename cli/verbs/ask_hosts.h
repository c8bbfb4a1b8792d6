#pragma once

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "cli/leave.h"
#include "cli/verbs/context.h"
#include "core/sys/clock.h"

namespace flurry {

// So many hosts are asked at the same time: a host that is silent costs a thread that waits, so it is not
// `parallel` that bounds it. The transport bounds what dials cost.
inline constexpr size_t kAskedMax = 512;

// Opens a session to every host of `fleet` and calls `ask` on a thread of its own with it, or with the error
// that kept us from one: the host's own, where the flake says something wrong of it. On the caller's thread,
// `on_answer` gets each answer as soon as it is there, and `on_tick` is called every 20 ms or so. Who
// interrupts it leaves at once (exit code 130), however long the hosts would still have been waited for:
// nothing was changed on any.
template <typename Answer>
void ask_hosts_each(
    Context& context, const Fleet& fleet, const AgentBinary& agent, Millis patience,
    const std::function<Answer(size_t host, Result<std::unique_ptr<HostSession>> session)>& ask,
    const std::function<void(size_t host, Answer answer)>& on_answer, const std::function<void()>& on_tick) {
  struct Given {
    size_t host;
    Answer answer;
    std::vector<std::string> warnings;
  };
  const size_t total = fleet.hosts.size();
  sys::BoundedQueue<Given> given(std::max<size_t>(total, 1));
  std::atomic<size_t> next = 0;
  const auto work = [&] {
    for (size_t host = next++; host < total; host = next++) {
      SeenHostKeys seen;
      const auto& error = fleet.hosts[host].error;
      auto session = error ? Result<std::unique_ptr<HostSession>>(*error)
                           : HostSession::open(context.transport, fleet.hosts[host], agent,
                                               {.patience = patience, .seen = &seen});
      Answer answer = ask(host, std::move(session));
      given.push({host, std::move(answer), std::move(seen.warnings)});
    }
  };
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < std::min(kAskedMax, total); ++i) threads.emplace_back(work);
  for (size_t done = 0; done < total;) {
    for (auto& one : given.pop_all(sys::now() + Millis(20))) {
      ++done;
      for (const auto& text : one.warnings)
        context.reporter.note(fleet.hosts[one.host].name.str() + ": " + text);
      on_answer(one.host, std::move(one.answer));
    }
    on_tick();
    if (!context.happenings.pop_all(sys::now()).empty()) leave(fail_run(context, interruption()));
  }
}

// The same, with all answers at once, in the fleet's order.
template <typename Answer>
std::vector<Answer> ask_hosts(
    Context& context, const Fleet& fleet, const AgentBinary& agent, Millis patience,
    const std::function<Answer(size_t host, Result<std::unique_ptr<HostSession>> session)>& ask) {
  std::vector<std::optional<Answer>> answers(fleet.hosts.size());
  ask_hosts_each<Answer>(
      context, fleet, agent, patience, ask,
      [&](size_t host, Answer answer) { answers[host].emplace(std::move(answer)); }, [] {});
  std::vector<Answer> out;
  for (auto& answer : answers) out.push_back(*std::move(answer));
  return out;
}

}  // namespace flurry
