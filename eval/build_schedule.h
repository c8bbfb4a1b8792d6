#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <vector>

namespace flurry::eval {

// Which requests one Nix program builds together, and with how many jobs, so that all programs that run at a
// time keep to the number that the user set. Decides only. A program takes no more requests than it has jobs:
// it can't be given more later, and one request must not wait for another's long build while a job is free.
class BuildSchedule {
 public:
  // `jobs`: local builds at a time; 0: there are only remote ones, which Nix counts itself.
  explicit BuildSchedule(size_t jobs) : jobs_(jobs) {}

  struct Program {
    size_t id;
    std::vector<size_t> requests;
    size_t jobs;  // 0 only where there are none at all
  };

  void add(size_t request) { waiting_.push_back(request); }

  // What to start now. `more_may_come`: a job or some are left for what arrives later.
  std::optional<Program> next(bool more_may_come);

  void ended(size_t program);

 private:
  const size_t jobs_;
  std::deque<size_t> waiting_;
  std::map<size_t, size_t> running_;  // program to its jobs
  size_t granted_ = 0;
  size_t next_program_ = 0;
};

}  // namespace flurry::eval
