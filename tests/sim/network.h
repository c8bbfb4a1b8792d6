#pragma once

#include <map>

#include "tests/sim/host.h"

namespace flurry::sim {

// The way between one controller and one host. What goes over it may be lost, late, doubled, or be lost in
// one direction only; who asked hears of it by a deadline.
class Link {
 public:
  Link(Timeline& timeline, Dice& dice, Host& host) : timeline_(timeline), dice_(dice), host_(&host) {}

  using Arrived = std::function<void()>;
  using Lost = std::function<void()>;
  void forth(Arrived then, Lost lost);
  void back(Arrived then, Lost lost);
  // May be delivered long after its sender has given it up, and more than once.
  void forth_perhaps_late(Arrived then, Lost lost);

  void lose_requests_until(TimePoint when) { requests_lost_until_ = when; }
  void lose_answers_until(TimePoint when) { answers_lost_until_ = when; }

  // The connection that is there: to one agent's process, and with its end at an end.
  void dial() { pid_ = host_->connect().pid(); }
  Process* agent() const { return pid_ ? host_->agent(*pid_) : nullptr; }
  std::optional<uint64_t> pid() const { return pid_; }
  Host& host() const { return *host_; }

 private:
  void carry(bool is_lost, Arrived then, Lost lost);

  Timeline& timeline_;
  Dice& dice_;
  Host* host_;
  TimePoint requests_lost_until_{};
  TimePoint answers_lost_until_{};
  std::optional<uint64_t> pid_;
};

}  // namespace flurry::sim
