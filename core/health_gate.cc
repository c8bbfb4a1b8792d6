#include "core/health_gate.h"

#include <algorithm>

#include "core/check.h"

namespace flurry {
namespace {

// How often the list of failed units is read; a read costs one systemctl call.
constexpr Millis kUnitsInterval{1000};

std::string joined(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

}  // namespace

HealthGate::HealthGate(HealthPolicy policy, TimePoint start, TimePoint deadline)
    : policy_(std::move(policy)), deadline_(deadline), checks_(policy_.checks.size()), units_next_(start) {
  for (size_t i = 0; i < checks_.size(); ++i) checks_[i].next = start + policy_.checks[i].initial_delay;
  refresh(start);
}

std::vector<size_t> HealthGate::take_due(TimePoint now) {
  std::vector<size_t> due;
  for (size_t i = 0; i < checks_.size(); ++i) {
    if (checks_[i].running || now < checks_[i].next) continue;
    checks_[i].running = true;
    due.push_back(i);
  }
  return due;
}

void HealthGate::observe_check(size_t index, bool passed, std::string message, TimePoint now) {
  FLURRY_CHECK(index < checks_.size());
  CheckState& state = checks_[index];
  const HealthCheck& check = policy_.checks[index];
  state.running = false;
  state.message = std::move(message);
  state.next = now + check.interval;
  state.streak = passed ? std::max(state.streak, 0) + 1 : std::min(state.streak, 0) - 1;
  if (state.streak >= static_cast<int>(check.success_threshold)) state.passing = true;
  if (-state.streak >= static_cast<int>(check.failure_threshold)) state.passing = false;
  state.observed = true;
  refresh(now);
}

bool HealthGate::take_units_due(TimePoint now) {
  if (units_running_ || now < units_next_) return false;
  units_running_ = true;
  return true;
}

void HealthGate::observe_units(std::vector<std::string> unwell, TimePoint now) {
  units_running_ = false;
  units_observed_ = true;
  units_next_ = now + kUnitsInterval;
  units_unwell_ = std::move(unwell);
  refresh(now);
}

bool HealthGate::all_well() const {
  if (!units_observed_ || !units_unwell_.empty()) return false;
  for (size_t i = 0; i < checks_.size(); ++i)
    if (policy_.checks[i].severity == Severity::kRequired && !checks_[i].passing) return false;
  return true;
}

void HealthGate::refresh(TimePoint now) {
  if (!all_well())
    healthy_since_.reset();
  else if (!healthy_since_)
    healthy_since_ = now;
}

HealthGate::Verdict HealthGate::verdict(TimePoint now) {
  // Held long enough counts even when both moments have passed since the last look.
  if (healthy_since_ && now - *healthy_since_ >= policy_.healthy_for() &&
      *healthy_since_ + policy_.healthy_for() <= deadline_)
    return Verdict::kHealthy;
  return now >= deadline_ ? Verdict::kFailed : Verdict::kPending;
}

std::optional<TimePoint> HealthGate::next_wakeup() const {
  TimePoint next = deadline_;
  if (healthy_since_) next = std::min(next, *healthy_since_ + policy_.healthy_for());
  for (const auto& check : checks_)
    if (!check.running) next = std::min(next, check.next);
  if (!units_running_) next = std::min(next, units_next_);
  return next;
}

std::vector<std::string> HealthGate::complaints() const {
  std::vector<std::string> out;
  const bool is_blind =
      !units_observed_ &&
      std::none_of(checks_.begin(), checks_.end(), [](const CheckState& check) { return check.observed; });
  if (is_blind) return {"the deadline passed before anything could be looked at"};
  if (!units_observed_) out.push_back("the units could not be looked at in time");
  if (!units_unwell_.empty()) out.push_back("failed units: " + joined(units_unwell_));
  for (size_t i = 0; i < checks_.size(); ++i)
    if (policy_.checks[i].severity == Severity::kRequired && !checks_[i].passing)
      out.push_back(policy_.checks[i].name + ": " + checks_[i].message);
  if (out.empty()) out.push_back("was not healthy for long enough");
  return out;
}

std::vector<std::string> HealthGate::warnings() const {
  std::vector<std::string> out;
  for (size_t i = 0; i < checks_.size(); ++i)
    if (policy_.checks[i].severity == Severity::kWanted && !checks_[i].passing)
      out.push_back(policy_.checks[i].name + ": " + checks_[i].message);
  return out;
}

HealthProof proof_of(const HealthPolicy& policy, bool is_reached) {
  const auto is_required = [](const HealthCheck& check) { return check.severity == Severity::kRequired; };
  const auto required = std::count_if(policy.checks.begin(), policy.checks.end(), is_required);
  return {static_cast<size_t>(required), policy.failed_units, is_reached};
}

std::string to_string(const HealthProof& proof) {
  std::vector<std::string> parts;
  if (proof.checks > 0)
    parts.push_back(std::to_string(proof.checks) + (proof.checks == 1 ? " check" : " checks"));
  if (proof.failed_units == FailedUnits::kNew) parts.emplace_back("no new failed units");
  if (proof.failed_units == FailedUnits::kAny) parts.emplace_back("no failed units");
  if (proof.is_reached) parts.emplace_back("reachability");
  if (parts.empty()) return "nothing was checked";
  return joined(parts) + (proof.checks == 0 ? " only" : "");
}

}  // namespace flurry
