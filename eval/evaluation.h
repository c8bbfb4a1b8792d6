#pragma once

#include <functional>
#include <list>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>
#include <variant>

#include "core/sys/bounded_queue.h"
#include "eval/eval_place.h"
#include "eval/eval_process.h"
#include "eval/eval_schedule.h"
#include "eval/evaluator.h"

namespace flurry::eval {

// Many hosts, few processes, one host's error its own: the loop between the schedule and its processes. The
// schedule decides which process takes which tasks; each process has a thread that follows it. One use.
class Evaluation {
 public:
  // Called on run()'s thread: once for each question, or, with an error, for the first that has none.
  using OnAnswer = std::function<void(const EvalTask& task, size_t question, Result<std::string> text)>;

  // How much a task takes, as far as is known.
  struct Weight {
    size_t workers;  // processes at a time
    size_t chunk = EvalSchedule::Limits{}.chunk;
    size_t need = EvalSchedule::Limits{}.need;
  };

  // What is given outlives it.
  Evaluation(const std::string& eval_ref, const EvalOptions& options, const EvalTasks& tasks, Weight weight,
             OnAnswer on_answer, TimePoint deadline, std::stop_token stop);

  void run();

 private:
  struct News {
    size_t job;
    std::variant<EvalProcess::Answer, EvalSchedule::End> what;
  };
  struct Running {
    size_t id;
    std::vector<EvalTask> tasks;  // the process refers to them
    std::vector<size_t> indexes;  // of the same
    std::optional<EvalProcess> process;
    std::jthread thread;
  };

  bool start_next();
  void take(News news);
  Error too_large() const;
  std::list<Running>::iterator find(size_t job);

  const std::string& eval_ref_;
  const EvalOptions& options_;
  const EvalTasks& tasks_;
  const OnAnswer on_answer_;
  const TimePoint deadline_;
  const std::stop_token stop_;
  const size_t budget_;
  EvalSchedule schedule_;
  sys::BoundedQueue<News> news_;
  std::list<Running> running_;  // its threads push to the queue above
};

// Processes at a time, for what is heavy.
size_t workers_of(const EvalOptions& options);

}  // namespace flurry::eval
