#pragma once

#include <cstddef>
#include <deque>
#include <map>
#include <optional>
#include <vector>

namespace flurry::eval {

// Which process evaluates which tasks, with how much memory, and when. Decides only: whoever has a schedule
// starts the processes and tells how they went. A task is what stands in one place of the flake for one host.
//
// Processes are few and their memory is granted before they start, so that together they stay within the
// budget. How much a host takes is learned from those that are done. The first chunks are large, as a start
// has its price; at the end, who has nothing to do takes half of what another one has still before it.
class EvalSchedule {
 public:
  struct Limits {
    size_t workers;  // at least 1
    size_t memory;   // bytes, of all processes together
    // The flake keeps each host that it has evaluated, and to collect garbage around them costs more with
    // each: from about so many systems on, a new process is cheaper.
    size_t chunk = 10;
    // A NixOS system takes so much, as far as anyone has published; used until one was measured.
    size_t need = size_t{3} << 30;
  };

  struct Job {
    size_t id;
    std::vector<size_t> tasks;  // in this order; never empty, all of one group
    size_t memory;              // bytes that it may take
  };

  // A running job loses the tasks behind its first `keep`.
  struct Cut {
    size_t job;
    size_t keep;
  };

  struct Step {
    std::optional<Job> start;
    std::optional<Cut> cut;  // to be told to that job before the start
  };

  // How a job ended. Its first `done` tasks were answered, whatever the answers are.
  struct End {
    size_t done = 0;
    bool out_of_memory = false;  // at the task behind those
    size_t first_peak = 0;       // the most memory before its first task was done; 0: not known
  };

  // `groups`: of each task; only tasks of one group go into one process.
  EvalSchedule(std::vector<size_t> groups, Limits limits);

  // What to do now. Without a start, the next thing to happen is the end of a job.
  Step next();

  // The job's task behind those that it had answered was answered.
  void answered(size_t job);

  // The job's process is gone. Its other tasks are given to new processes. Returns a task that needs more
  // than the whole budget: it is not tried again.
  std::optional<size_t> ended(size_t job, const End& end);

  bool is_finished() const { return waiting_.empty() && running_.empty(); }

 private:
  struct Running {
    std::vector<size_t> tasks;
    size_t answered = 0;
    size_t memory = 0;
  };

  size_t wanted_workers() const;
  std::optional<size_t> grant_for(size_t task) const;
  Step take(size_t memory, size_t room);
  Step steal();
  void learn(size_t bytes);

  const std::vector<size_t> groups_;
  const Limits limits_;
  std::deque<size_t> waiting_;
  std::map<size_t, size_t> at_least_;  // task to the bytes that it needs, as far as was seen
  std::map<size_t, Running> running_;  // by job
  size_t granted_ = 0;
  size_t chunk_max_;
  size_t need_;         // bytes that a host takes, for all that is known
  size_t samples_ = 0;  // that it was learned from
  size_t next_job_ = 0;
};

}  // namespace flurry::eval
