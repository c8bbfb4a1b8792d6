#include "eval/build_schedule.h"

#include <algorithm>

#include "core/check.h"

namespace flurry::eval {
namespace {

// Each is a process that has read all the derivations that it builds.
constexpr size_t kProgramsMax = 8;
// A command line has an end. And where Nix counts the jobs of remote builders, nothing else bounds this.
constexpr size_t kRequestsMax = 1000;
constexpr size_t kRequestsRemote = 16;
constexpr size_t kKeptBack = 4;  // a fourth of what is free

}  // namespace

std::optional<BuildSchedule::Program> BuildSchedule::next(bool more_may_come) {
  if (waiting_.empty() || running_.size() >= kProgramsMax) return std::nullopt;
  size_t jobs = jobs_ - granted_;
  if (jobs_ > 0 && jobs == 0) return std::nullopt;
  if (more_may_come && jobs > 1) jobs -= std::max<size_t>(1, jobs / kKeptBack);
  Program program{next_program_++, {}, jobs};
  const size_t count = std::min({waiting_.size(), jobs_ > 0 ? jobs : kRequestsRemote, kRequestsMax});
  program.requests.assign(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(count));
  waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(count));
  granted_ += jobs;
  running_[program.id] = jobs;
  return program;
}

void BuildSchedule::ended(size_t program) {
  const auto it = running_.find(program);
  FLURRY_CHECK(it != running_.end());
  granted_ -= it->second;
  running_.erase(it);
}

}  // namespace flurry::eval
