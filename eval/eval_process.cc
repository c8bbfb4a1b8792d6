#include "eval/eval_process.h"

#include <algorithm>
#include <random>
#include <utility>

#include "core/sys/memory.h"
#include "eval/nix_command.h"

namespace flurry::eval {
namespace {

constexpr Millis kMeasureInterval{50};
// What a Nix process takes besides its garbage collected heap: the program, what it has parsed, the store.
constexpr size_t kBesideHeap = size_t{64} << 20;
constexpr size_t kHeapMin = size_t{32} << 20;
// What Nix takes at once when nobody says otherwise.
constexpr size_t kHeapAtFirst = size_t{384} << 20;

// Nobody's own trace begins like this by accident.
std::string make_marker() {
  std::random_device random;
  return "flurry-" + std::to_string(random()) + std::to_string(random());
}

// Newer Nix reads a locked directory again and finds that it isn't what was locked.
Error explain(const Error& error) {
  const bool changed = error.message.find("NAR hash mismatch in input") != std::string::npos;
  return error.with_context(changed ? "evaluation: the flake's files changed since it was read, start again"
                                    : "evaluation");
}

}  // namespace

EvalProcess::EvalProcess(const std::string& eval_ref, const EvalOptions& options, const EvalPlace& place,
                         const std::vector<EvalTask>& tasks, size_t memory, OnAnswer on_answer)
    : eval_ref_(eval_ref),
      options_(options),
      place_(place),
      tasks_(tasks),
      memory_(memory),
      on_answer_(std::move(on_answer)),
      marker_(make_marker()),
      keep_(tasks.size()) {
  for (size_t task = 0; task < tasks_.size(); ++task)
    for (size_t question = 0; question < tasks_[task].questions.size(); ++question)
      rest_.push_back({task, question, tasks_[task].name + " " + tasks_[task].questions[question]});
}

EvalSchedule::End EvalProcess::run(TimePoint deadline, std::stop_token stop) {
  std::vector<std::string> names;
  for (const Item& item : rest_) names.push_back(item.name);
  const auto result = run_nix_program(
      options_,
      {"eval", "--json", eval_ref_ + "#" + place_.output, "--apply", expression_of(place_, marker_, names)},
      {[this](std::string_view line) { take_line(line); }, [this](pid_t pid) { return watch(pid); },
       heap_limits()},
      deadline, std::move(stop));
  if (rest_.empty()) return end_;
  if (!result) {
    answer_all(explain(result.error()));
  } else if (result->ended_by_watch) {
    end_.out_of_memory = was_full_;
  } else if (ran_out_of_memory(*result)) {
    end_.out_of_memory = true;
  } else if (result->exit_code == 0) {
    answer_all({ErrorKind::kFailed, "evaluation: nix ended without an answer"});
  } else if (begun_) {
    answer(explain(nix_failure(options_, *result)));
  } else {
    answer_all(explain(nix_failure(options_, *result)));
  }
  return end_;
}

void EvalProcess::take_line(std::string_view line) {
  const std::string prefix = "trace: " + marker_ + " ";
  const size_t at = line.find(prefix);
  if (at == std::string_view::npos || rest_.empty()) return;
  line.remove_prefix(at + prefix.size());
  const std::string& name = rest_.front().name;
  if (line == "begin " + name) {
    begun_ = true;
    starts_task_ = rest_.front().question == 0;
    part_.clear();
  }
  if (const std::string part = "part " + name + " "; line.starts_with(part))
    part_ += line.substr(part.size());
  const std::string done = "done " + name + " ";
  if (!line.starts_with(done)) return;
  begun_ = starts_task_ = false;
  answer(std::exchange(part_, {}) + std::string(line.substr(done.size())));
}

bool EvalProcess::watch(pid_t pid) {
  // A process of a single task has its first peak only now; without it nothing would be learned of it.
  if (rest_.empty()) {
    if (end_.done > 0 && end_.first_peak == 0)
      end_.first_peak = std::max(peak_, sys::process_tree_memory(pid));
    return true;
  }
  const bool is_between = std::exchange(starts_task_, false);
  if (is_between && rest_.front().task >= keep_) return false;
  const bool is_first = end_.done > 0 && end_.first_peak == 0;
  if (const TimePoint now = sys::now(); is_between || is_first || now >= measured_at_ + kMeasureInterval) {
    measured_at_ = now;
    const size_t taken = sys::process_tree_memory(pid);
    peak_ = std::max(peak_, taken);
    const bool is_near = is_between && end_.done > 0 && taken > memory_ / 8 * 7;
    was_full_ = is_near || taken > memory_;
  }
  if (is_first) end_.first_peak = peak_;
  return !was_full_;
}

// A host has failed with the first of its items: the others are nobody's.
void EvalProcess::answer(Result<std::string> text) {
  const Item item = rest_.front();
  rest_.pop_front();
  while (!text && !rest_.empty() && rest_.front().task == item.task) rest_.pop_front();
  const bool is_last = rest_.empty() || rest_.front().task != item.task;
  if (is_last) ++end_.done;
  on_answer_({item.task, item.question, std::move(text), is_last});
}

void EvalProcess::answer_all(const Error& error) {
  while (!rest_.empty()) answer(error);
}

// The collector works harder before it gives up, where it would have grown else; and a host that takes more
// ends in Nix's own words for it, before the watch has to end it.
std::vector<std::string> EvalProcess::heap_limits() const {
  const size_t heap = std::max(kHeapMin, memory_ - std::min(memory_, kBesideHeap + memory_ / 16));
  std::vector<std::string> limits{"GC_MAXIMUM_HEAP_SIZE=" + std::to_string(heap)};
  if (heap / 2 < kHeapAtFirst) limits.push_back("GC_INITIAL_HEAP_SIZE=" + std::to_string(heap / 2));
  return limits;
}

bool EvalProcess::ran_out_of_memory(const sys::CommandResult& result) const {
  if (result.exit_code == 0) return false;
  // The kernel takes the largest when there is nothing left; nobody else kills so.
  if (result.signal == 9) return true;
  return result.standard_error.find("GC Warning: Out of Memory!") != std::string::npos ||
         nix_failure(options_, result).message == "out of memory";
}

}  // namespace flurry::eval
