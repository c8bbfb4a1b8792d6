#pragma once

#include <atomic>
#include <functional>
#include <optional>
#include <span>
#include <thread>
#include <vector>

#include "core/nix/daemon.h"
#include "core/sys/bounded_queue.h"
#include "core/sys/fd.h"
#include "core/transfer/messages.h"

namespace flurry::agent {

// What this host's own substituters can give, fetched by its Nix daemon over a connection and on a thread of
// its own. The daemon checks the signatures. Every method on one thread.
class Substitution {
 public:
  using Connect = std::function<Result<nix::Daemon>(TimePoint)>;

  // `closure` must outlive it. A daemon that gets nothing further for `idle_timeout` is given up.
  Substitution(Connect connect, const std::vector<transfer::PathEntry>& closure, Millis idle_timeout)
      : connect_(std::move(connect)), closure_(closure), idle_timeout_(idle_timeout) {}
  // Ends what is still being fetched.
  ~Substitution();
  Substitution(const Substitution&) = delete;

  // Those of `missing`, ascending, that a substituter says it has. One question to each substituter, however
  // long that takes it: after the deadline it is an error.
  Result<std::vector<uint32_t>> ask(std::span<const uint32_t> missing, TimePoint deadline);

  // Begins to fetch these, which ask() gave. Once. They must be held by temporary roots already.
  Result<void> start(std::vector<uint32_t> indices);

  // How far it is; says once that it has ended, and is not to be asked after that.
  transfer::Fetched look();
  // Readable once it has ended.
  int end_fd() const { return end_.get(); }

 private:
  void fetch(const std::vector<uint32_t>& indices);
  Result<std::vector<StorePath>> valid_ones(std::span<const StorePath> paths);

  const Connect connect_;
  const std::vector<transfer::PathEntry>& closure_;
  const Millis idle_timeout_;
  std::optional<nix::Daemon> daemon_;
  std::atomic<uint64_t> bytes_{0};
  std::atomic<bool> is_given_up_{false};
  sys::BoundedQueue<transfer::Fetched> ended_{1};
  sys::Fd end_;         // its peer is closed at the end
  std::thread thread_;  // uses the rest
};

}  // namespace flurry::agent
