#include "eval/evaluation.h"

#include <algorithm>

#include "core/sys/memory.h"

namespace flurry::eval {
namespace {

constexpr size_t kNewsWaitingMax = 256;

std::string in_gib(size_t bytes) {
  const size_t tenths = (bytes * 10 + (size_t{1} << 29)) >> 30;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " GiB";
}

size_t memory_budget(const EvalOptions& options) {
  return options.memory > 0 ? options.memory : sys::available_memory() / 4 * 3;
}

std::vector<size_t> groups_of(const std::vector<EvalTask>& tasks) {
  std::vector<size_t> groups;
  for (const auto& task : tasks) groups.push_back(task.place);
  return groups;
}

}  // namespace

size_t workers_of(const EvalOptions& options) {
  return options.workers_max > 0 ? options.workers_max : std::max(1u, std::thread::hardware_concurrency());
}

Evaluation::Evaluation(const std::string& eval_ref, const EvalOptions& options, const EvalTasks& tasks,
                       Weight weight, OnAnswer on_answer, TimePoint deadline, std::stop_token stop)
    : eval_ref_(eval_ref),
      options_(options),
      tasks_(tasks),
      on_answer_(std::move(on_answer)),
      deadline_(deadline),
      stop_(std::move(stop)),
      budget_(memory_budget(options)),
      schedule_(groups_of(tasks.tasks), {weight.workers, budget_, weight.chunk, weight.need}),
      news_(kNewsWaitingMax) {}

void Evaluation::run() {
  while (!schedule_.is_finished()) {
    while (start_next()) continue;
    for (auto& news : news_.pop_all(std::nullopt)) take(std::move(news));
  }
}

bool Evaluation::start_next() {
  const auto step = schedule_.next();
  if (step.cut) find(step.cut->job)->process->keep(step.cut->keep);
  if (!step.start) return false;
  Running& running = running_.emplace_back();
  running.id = step.start->id;
  running.indexes = step.start->tasks;
  for (const size_t task : running.indexes) running.tasks.push_back(tasks_.tasks[task]);
  const auto on_answer = [this, id = running.id](EvalProcess::Answer answer) {
    news_.push({id, std::move(answer)});
  };
  running.process.emplace(eval_ref_, options_, tasks_.places[running.tasks.front().place], running.tasks,
                          step.start->memory, on_answer);
  running.thread = std::jthread([this, &running] {
    news_.push({running.id, running.process->run(deadline_, stop_)});
  });
  return true;
}

void Evaluation::take(News news) {
  const auto job = find(news.job);
  if (auto* answer = std::get_if<EvalProcess::Answer>(&news.what)) {
    if (answer->is_last) schedule_.answered(news.job);
    return on_answer_(job->tasks[answer->task], answer->question, std::move(answer->text));
  }
  running_.erase(job);
  if (const auto task = schedule_.ended(news.job, std::get<EvalSchedule::End>(news.what)))
    on_answer_(tasks_.tasks[*task], 0, too_large());
}

Error Evaluation::too_large() const {
  return {ErrorKind::kFailed, "evaluation: this host alone needs more than the " + in_gib(budget_) +
                                  " of memory that evaluation may take: give more by --eval-memory, or "
                                  "evaluate where there is more"};
}

std::list<Evaluation::Running>::iterator Evaluation::find(size_t job) {
  return std::find_if(running_.begin(), running_.end(), [job](const auto& r) { return r.id == job; });
}

}  // namespace flurry::eval
