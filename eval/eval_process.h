#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "core/sys/clock.h"
#include "core/sys/subprocess.h"
#include "eval/eval_place.h"
#include "eval/eval_schedule.h"
#include "eval/evaluator.h"

namespace flurry::eval {

// One `nix eval` over some tasks of one place. By its traces it tells what came out of each as soon as it is
// known, and which one it is at: a dying process loses only that one. It is ended when it takes more memory
// than it was granted: between two tasks when it is near that, at once when it is past it. One use; run() on
// any one thread.
class EvalProcess {
 public:
  struct Answer {
    size_t task;      // index into the tasks that were given
    size_t question;  // as in EvalTask::questions
    Result<std::string> text;
    bool is_last = false;  // of this task: with its last question, or with an error
  };
  using OnAnswer = std::function<void(Answer)>;

  // What is given outlives it.
  EvalProcess(const std::string& eval_ref, const EvalOptions& options, const EvalPlace& place,
              const std::vector<EvalTask>& tasks, size_t memory, OnAnswer on_answer);

  // Returns when the process is gone. Each task up to `End::done` was answered.
  EvalSchedule::End run(TimePoint deadline, std::stop_token stop);

  // Others do the tasks behind the first `tasks`; those are not begun any more. Any thread, while run() runs.
  void keep(size_t tasks) { keep_ = tasks; }

 private:
  // One question about one host, in the order in which Nix evaluates them.
  struct Item {
    size_t task;
    size_t question;
    std::string name;  // "HOST QUESTION"
  };

  void take_line(std::string_view line);
  bool watch(pid_t pid);
  void answer(Result<std::string> text);
  void answer_all(const Error& error);
  std::vector<std::string> heap_limits() const;
  bool ran_out_of_memory(const sys::CommandResult& result) const;

  const std::string& eval_ref_;
  const EvalOptions& options_;
  const EvalPlace& place_;
  const std::vector<EvalTask>& tasks_;
  const size_t memory_;
  const OnAnswer on_answer_;
  const std::string marker_;
  std::atomic<size_t> keep_;
  std::deque<Item> rest_;
  EvalSchedule::End end_;
  std::string part_;          // of an answer that is longer than a line
  bool begun_ = false;        // the first of rest_ is being evaluated
  bool starts_task_ = false;  // and it is its task's first, and nothing of it was done yet
  bool was_full_ = false;     // ended for the memory that it took
  size_t peak_ = 0;
  TimePoint measured_at_{};
};

}  // namespace flurry::eval
