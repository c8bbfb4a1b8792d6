#include "eval/eval_schedule.h"

#include <algorithm>
#include <utility>

#include "core/check.h"

namespace flurry::eval {
namespace {

constexpr size_t kNeedMin = size_t{64} << 20;
// A start costs about as much as a small host.
constexpr size_t kStealMin = 2;

}  // namespace

EvalSchedule::EvalSchedule(std::vector<size_t> groups, Limits limits)
    : groups_(std::move(groups)), limits_(limits), chunk_max_(limits.chunk), need_(limits.need) {
  FLURRY_CHECK(limits_.workers > 0);
  for (size_t task = 0; task < groups_.size(); ++task) waiting_.push_back(task);
}

size_t EvalSchedule::wanted_workers() const {
  const size_t left = waiting_.size() + running_.size();
  return std::max<size_t>(1, std::min({limits_.workers, left, limits_.memory / need_}));
}

// Nothing: wait until a job has ended.
std::optional<size_t> EvalSchedule::grant_for(size_t task) const {
  const size_t free = limits_.memory - std::min(limits_.memory, granted_);
  const auto known = at_least_.find(task);
  if (known != at_least_.end()) return free >= known->second ? std::optional(known->second) : std::nullopt;
  const size_t fair = limits_.memory / wanted_workers();
  if (free >= fair) return fair;
  // What was granted before the need was known may leave an odd rest.
  return free >= need_ ? std::optional(free) : std::nullopt;
}

EvalSchedule::Step EvalSchedule::next() {
  if (running_.size() >= limits_.workers) return {};
  if (waiting_.empty()) return steal();
  const auto memory = grant_for(waiting_.front());
  if (!memory) return {};
  const size_t idle = std::max(wanted_workers(), running_.size() + 1) - running_.size();
  size_t room = std::min(chunk_max_, (waiting_.size() + idle - 1) / idle);
  // Memory is what holds us back, and what a host takes is a guess: find out.
  if (samples_ == 0 && wanted_workers() < std::min(limits_.workers, groups_.size())) room = 1;
  return take(*memory, room);
}

EvalSchedule::Step EvalSchedule::take(size_t memory, size_t room) {
  Job job{next_job_++, {}, memory};
  const size_t group = groups_[waiting_.front()];
  const bool is_alone = at_least_.contains(waiting_.front());
  do {
    job.tasks.push_back(waiting_.front());
    waiting_.pop_front();
  } while (!is_alone && job.tasks.size() < room && !waiting_.empty() && groups_[waiting_.front()] == group &&
           !at_least_.contains(waiting_.front()));
  granted_ += memory;
  running_[job.id] = {job.tasks, 0, memory};
  return {std::move(job), std::nullopt};
}

// Takes the last half of what the longest job has not begun.
EvalSchedule::Step EvalSchedule::steal() {
  const auto not_begun = [](const Running& running) {
    return running.tasks.size() - std::min(running.tasks.size(), running.answered + 1);
  };
  const auto longest = std::max_element(running_.begin(), running_.end(), [&](const auto& a, const auto& b) {
    return not_begun(a.second) < not_begun(b.second);
  });
  if (longest == running_.end() || not_begun(longest->second) < kStealMin) return {};
  Running& victim = longest->second;
  const auto memory = grant_for(victim.tasks.back());
  if (!memory) return {};
  const size_t keep = victim.tasks.size() - not_begun(victim) / 2;
  waiting_.assign(victim.tasks.begin() + static_cast<std::ptrdiff_t>(keep), victim.tasks.end());
  victim.tasks.resize(keep);
  const Cut cut{longest->first, keep};
  Step step = take(*memory, waiting_.size());
  step.cut = cut;
  return step;
}

void EvalSchedule::answered(size_t job) { ++running_.at(job).answered; }

void EvalSchedule::learn(size_t bytes) {
  // Some room for hosts that take more than others; those that take far more are run again by themselves.
  const size_t needed = std::max(kNeedMin, bytes + bytes / 4);
  const size_t weight = std::min<size_t>(samples_, 15);
  need_ = (need_ * weight + needed) / (weight + 1);
  ++samples_;
}

std::optional<size_t> EvalSchedule::ended(size_t job, const End& end) {
  const auto it = running_.find(job);
  FLURRY_CHECK(it != running_.end());
  const Running running = std::move(it->second);
  running_.erase(it);
  granted_ -= running.memory;
  if (end.first_peak > 0) learn(end.first_peak);
  // A job that was cut may have answered more than it was to keep.
  size_t from = std::min(end.done, running.tasks.size());
  std::optional<size_t> impossible;
  if (end.out_of_memory && from < running.tasks.size()) {
    if (from > 0) {
      chunk_max_ = std::min(chunk_max_, from);
    } else {
      const size_t task = running.tasks[from++];
      if (running.memory >= limits_.memory) {
        impossible = task;
      } else {
        at_least_[task] = std::min(limits_.memory, running.memory * 2);
        learn(running.memory * 2);
        waiting_.push_back(task);
      }
    }
  }
  waiting_.insert(waiting_.begin(), running.tasks.begin() + static_cast<std::ptrdiff_t>(from),
                  running.tasks.end());
  return impossible;
}

}  // namespace flurry::eval
