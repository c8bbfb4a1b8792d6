#include <algorithm>

#include "core/activation.h"

// From the end of the switch to the confirmation: is the new system healthy?

namespace flurry {
namespace {

std::string joined(const std::vector<std::string>& lines) {
  std::string out;
  for (const auto& line : lines) out += (out.empty() ? "" : "; ") + line;
  return out;
}

}  // namespace

void Activation::pump_checks() {
  for (const size_t index : gate_->take_due(now_)) {
    running_checks_.emplace_back(next_id_, index);
    out_.push_back({next_id_++, effect::RunCheck{index}});
  }
  if (gate_->take_units_due(now_)) {
    units_read_ = next_id_;
    out_.push_back({next_id_++, effect::ReadState{}});
  }
  switch (gate_->verdict(now_)) {
    case HealthGate::Verdict::kPending:
      return;
    case HealthGate::Verdict::kFailed:
      return fail("not healthy: " + joined(gate_->complaints()));
    case HealthGate::Verdict::kHealthy:
      for (const auto& warning : gate_->warnings()) record_.output += "\nwarning: " + warning;
      return confirm_or_commit();
  }
}

void Activation::start_checks() {
  gate_.emplace(record_.spec.health, now_, record_.deadline);
  step_ = Step::kCheck;
  wake_.reset();
}

void Activation::on_check(const EffectEnded& ended) {
  if (ended.id == units_read_) return on_units_read(ended.result);
  const auto it = std::find_if(running_checks_.begin(), running_checks_.end(),
                               [&](const auto& check) { return check.first == ended.id; });
  if (it == running_checks_.end()) return;
  const size_t index = it->second;
  running_checks_.erase(it);
  const auto* check = ended.result ? std::get_if<CheckResult>(&*ended.result) : nullptr;
  if (check)
    gate_->observe_check(index, check->passed, check->message, now_);
  else
    gate_->observe_check(index, false, ended.result.error().message, now_);
}

// A host whose units can't be read is not healthy; the name stands for the complaint.
void Activation::on_units_read(const Result<EffectValue>& result) {
  units_read_ = 0;
  const auto* state = result ? std::get_if<SystemState>(&*result) : nullptr;
  if (state && !runs_new_system(*state)) return fail("the new system no longer runs");
  gate_->observe_units(state ? unwell_units(record_.before, *state, record_.spec.health.failed_units)
                             : std::vector<std::string>{"(unreadable: " + result.error().message + ")"},
                       now_);
}

void Activation::confirm_or_commit() {
  running_checks_.clear();
  units_read_ = 0;
  if (!record_.spec.magic_rollback) return start_commit();
  enter_write(Step::kWriteAwaiting, Phase::kAwaitingConfirmation, now_ + record_.spec.confirm_timeout);
}

}  // namespace flurry
