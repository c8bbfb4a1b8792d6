#include "tests/lab/faultagent/faulty_host.h"

#include "tests/lab/faultagent/points.h"

namespace flurry::agent {
namespace {

using Point = std::string;  // empty: none here

Point before_effect(const effect::Any& what, const ActivationRecord& record) {
  if (std::holds_alternative<effect::RunSwitch>(what) && record.phase == Phase::kSwitching)
    return "switch-start";
  if (const auto* check = std::get_if<effect::RunCheck>(&what))
    return "check-" + std::to_string(check->index + 1);
  return {};
}

Point after_effect(const effect::Any& what, const ActivationRecord& record) {
  if (std::holds_alternative<effect::ArmDeadman>(what)) return "deadman-armed";
  if (std::holds_alternative<effect::SetProfile>(what)) return "profile-set";
  if (!std::holds_alternative<effect::RunSwitch>(what)) return {};
  if (record.phase == Phase::kSwitching) return "switch-end";
  if (record.phase == Phase::kProfileSet) return "bootloader-written";
  return {};
}

Point before_write(const ActivationRecord& record) {
  if (record.phase == Phase::kPrepared) return "journal-before";
  if (record.phase == Phase::kConfirmed) return "confirm-sent";
  if (record.phase == Phase::kEnded && record.outcome == Outcome::kRolledBack) return "rollback-done";
  return {};
}

Point after_write(const ActivationRecord& record) {
  if (record.phase == Phase::kPrepared) return "journal-after";
  if (record.phase == Phase::kConfirmed) return "confirm-received";
  if (record.phase == Phase::kRollingBack) return "rollback-started";
  if (record.phase == Phase::kEnded) return "ended";
  return {};
}

// Where a process of one kind stops.
class Stops {
 public:
  explicit Stops(bool is_deadman) : prefix_(is_deadman ? "deadman-" : "") {}
  void at(const Point& point) const {
    if (!point.empty()) stop_at(prefix_ + point);
  }

 private:
  const std::string prefix_;
};

class FaultySystem : public System {
 public:
  FaultySystem(std::unique_ptr<System> real, bool is_deadman) : real_(std::move(real)), stops_(is_deadman) {}

  Result<EffectValue> perform(const effect::Any& what, const ActivationRecord& record,
                              std::stop_token stop) override {
    stops_.at(before_effect(what, record));
    auto result = real_->perform(what, record, std::move(stop));
    stops_.at(after_effect(what, record));
    return result;
  }
  Result<ActivationSpec> admit(ActivationSpec spec) override { return real_->admit(std::move(spec)); }
  Result<HostFacts> inspect(const std::vector<ProfileRef>& user_profiles, bool with_generations) override {
    return real_->inspect(user_profiles, with_generations);
  }
  CheckResult run_check(const HealthCheck& check, std::stop_token stop) override {
    return real_->run_check(check, std::move(stop));
  }

 private:
  const std::unique_ptr<System> real_;
  const Stops stops_;
};

class FaultyJournal : public Journal {
 public:
  FaultyJournal(std::unique_ptr<Journal> real, bool is_deadman)
      : real_(std::move(real)), stops_(is_deadman) {}

  Result<void> write(const ActivationRecord& record) override {
    stops_.at(before_write(record));
    auto result = real_->write(record);
    log_write(record, result.has_value());
    stops_.at(after_write(record));
    return result;
  }
  Result<std::optional<JournalEntry>> find(const DeploymentId& id) override { return real_->find(id); }
  Result<std::optional<JournalEntry>> latest_unfinished() override { return real_->latest_unfinished(); }
  Result<std::vector<ActivationRecord>> recent(size_t count) override { return real_->recent(count); }
  Result<std::vector<DeploymentId>> damaged() override { return real_->damaged(); }
  Result<void> set_aside(const DeploymentId& id) override { return real_->set_aside(id); }
  Result<std::vector<DeploymentId>> lost() override { return real_->lost(); }

 private:
  const std::unique_ptr<Journal> real_;
  const Stops stops_;
};

}  // namespace

Host make_faulty_host(const Paths& paths, const std::string& program, bool is_deadman) {
  Host real = make_nixos_host(paths, program, is_deadman);
  return {std::make_unique<FaultySystem>(std::move(real.system), is_deadman),
          std::make_unique<FaultyJournal>(std::move(real.journal), is_deadman)};
}

}  // namespace flurry::agent
