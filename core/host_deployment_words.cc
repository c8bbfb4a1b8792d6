#include "core/host_deployment.h"

namespace flurry {

std::string_view to_string(Stage stage) {
  switch (stage) {
    case Stage::kPreflight:
      return "preflight";
    case Stage::kEvaluate:
      return "evaluate";
    case Stage::kBuild:
      return "build";
    case Stage::kCopy:
      return "copy";
    case Stage::kWaiting:
      return "waiting";
    case Stage::kActivate:
      return "activate";
    case Stage::kCheck:
      return "check";
    case Stage::kConfirm:
      return "confirm";
    case Stage::kCommit:
      return "commit";
    case Stage::kRollBack:
      return "roll-back";
    case Stage::kEnded:
      return "ended";
  }
  return "?";
}

std::string HostDeployment::names() const {
  std::string out;
  for (const auto& path : paths()) out += (out.empty() ? "" : " ") + path.str();
  return out;
}

std::string HostDeployment::planned_change() const {
  std::string changes;
  for (const auto& profile : system_->profiles) {
    if (is_committed(profile)) continue;
    const bool is_system = profile.profile.is_system();
    const auto from = is_system ? facts_->state.running : profile_state(facts_->state, profile.profile).path;
    changes +=
        std::string(changes.empty() ? "" : "; ") + (is_system ? "" : "profile " + profile.profile.name + " ");
    if (from == profile.out)
      changes +=
          std::string(is_system ? "runs, and would be made the boot default" : "would be activated again") +
          ": " + profile.out.str();
    else
      changes += "would go " + (from ? "from " + from->str() + " " : "") + "to " + profile.out.str();
  }
  return changes + "; nothing was changed";
}

// The host knows only that no confirmation came; we know whether we tried, and what came of it.
std::string HostDeployment::told_of_confirmation(const AgentView& view) const {
  if (view.outcome == Outcome::kSucceeded || view.back_from != Phase::kAwaitingConfirmation) return "";
  if (!has_called_) return "; this controller had not called by then";
  if (!dial_error_) return "";
  switch (dial_error_->kind) {
    case ErrorKind::kRefused:
      return "; at the last dial the host answered, but refused: " + dial_error_->message;
    case ErrorKind::kUnreachable:
    case ErrorKind::kTimedOut:
      return "; the host could not be reached over a new connection: " + dial_error_->message;
    default:
      return "; the last try to confirm failed: " + dial_error_->message;
  }
}

// From here on, as far as we know, if nobody else comes.
std::string HostDeployment::what_the_host_does() const {
  const ActivationSpec asked = spec();
  if (asked.goal == Goal::kDryActivate) return "nothing is switched by a dry run";
  if (phase_ >= Phase::kConfirmed && phase_ <= Phase::kCommitted)
    return "it was confirmed, and goes on to commit by itself";
  if (phase_ == Phase::kRollingBack) return "it is going back by itself";
  if (asked.goal == Goal::kBoot)
    return "it makes the new system the boot default by itself, or leaves the old one";
  const std::string begun = seen_ == 0 ? "it isn't known whether it began; if it did, " : "";
  if (!asked.auto_rollback) return begun + "it stays with what it was given, since autoRollback is off";
  if (!asked.magic_rollback)
    return begun + "it waits for no confirmation (no magic rollback), and commits what passes its checks";
  if (!facts_->state.running) return begun + "there is nothing that it could go back to";
  if (has_called_)
    return "if the confirmation arrived it commits, else it goes back by itself at its deadline";
  return begun + "without a confirmation it goes back by itself at its deadline";
}

}  // namespace flurry
