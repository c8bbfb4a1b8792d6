#include "tests/sim/invariants.h"

#include <algorithm>

namespace flurry::sim {
namespace {

// How long past its recorded deadline a host may stay on a system that nobody confirmed, beside the time
// that was taken by slow effects and refusing disks: the deadman's grace, interval and patience with a
// frozen agent, then the rollback with its switches and retries.
constexpr Millis kOverdueMax{60'000};

bool is_back(Outcome outcome) {
  return outcome == Outcome::kRolledBack || outcome == Outcome::kFailedUnchanged ||
         outcome == Outcome::kRollbackFailed || outcome == Outcome::kSuperseded;
}

// A program that tells less than it should, or a way back that was killed: in doubt it isn't rolled back.
bool says_that_nobody_can_tell(const std::string& reason) {
  return reason.find("would not say if the activation script failed") != reason.npos ||
         reason.find("switch-to-configuration was killed or lost") != reason.npos;
}

const Configuration& recorded_files(const Machine& machine, const Truth& before) {
  static const Configuration kNone;
  return before.running ? machine.release(*before.running).units : kNone;
}

std::string name_of(const std::optional<StorePath>& path) {
  return path ? path->str().substr(11, 1) : "nothing";
}

}  // namespace

Invariants::Invariants(Timeline& timeline, std::list<Host>& hosts) : timeline_(timeline) {
  ledgers_.reserve(hosts.size());
  for (auto& host : hosts) {
    Ledger& ledger = ledgers_.emplace_back(Ledger{&host, {}, {}, {}});
    const Truth now = look_at(host.machine);
    for (const auto& path : {now.running, now.boot_default, now.profile})
      if (path) {
        ledger.may_run.insert(*path);
        ledger.may_boot.insert(*path);
      }
    host.machine.on_switch = [this, &ledger](const auto& what, const auto& spec) {
      on_switch(ledger, what, spec);
    };
    host.machine.on_rebuild = [&ledger](const auto& path) {
      ledger.may_run.insert(path);
      ledger.may_boot.insert(path);
    };
    host.shared.on_read = [this, &ledger](const auto& id, bool is_baseline) {
      on_read(ledger, id, is_baseline);
    };
    host.shared.on_durable = [this, &ledger](const auto& record) { on_durable(ledger, record); };
    host.shared.on_outcome = [this, &ledger](const auto& record, bool) { on_outcome(ledger, record); };
    host.shared.on_restore = [this, &ledger](const auto& spec) {
      expect_to_be_ours(ledger, spec, ledger.host->machine.disk.system.state().path, "the profile");
    };
    host.shared.on_missing = [this, &ledger](const auto& path, const auto& use) {
      fail(ledger, "collected as garbage, and needed to " + use + ": " + path.str());
    };
  }
}

void Invariants::fail(const Ledger& ledger, const std::string& what) {
  timeline_.tell(ledger.host->machine.name, "BROKEN: " + what);
  if (!broken_) broken_ = ledger.host->machine.name + ": " + what;
}

void Invariants::know(const Plan& plan) { plans_.emplace(plan.id(), plan); }

void Invariants::confirm_arrives(size_t host, const DeploymentId& id) {
  ledgers_[host].stories[id].confirm_arrived = true;
}

void Invariants::undo_is_wanted(size_t host, const DeploymentId& id) {
  ledgers_[host].stories[id].is_undo_wanted = true;
}

void Invariants::on_read(Ledger& ledger, const DeploymentId& id, bool is_baseline) {
  Story& story = ledger.stories[id];
  if (story.told || story.durable) return;  // of a slow effect that was given up
  story.seen = ledger.host->machine.disturbances();
  if (is_baseline && !story.baseline) story.baseline = look_at(ledger.host->machine);
}

void Invariants::on_switch(Ledger& ledger, const effect::RunSwitch& what, const ActivationSpec& spec) {
  Story& story = ledger.stories[spec.deployment];
  if (what.action == effect::SwitchAction::kDryActivate) return;
  story.is_touched = true;
  const auto* file = ledger.host->machine.disk.find(spec.deployment);
  if (!file) return fail(ledger, "a switch begins that no journal knows");
  const bool is_forward = what.closure == spec.profiles.at(what.profile).new_path;
  if (is_forward && file->record.phase < Phase::kSwitching)
    fail(ledger, "a switch begins before its phase is in the journal");
  if (story.durable) fail(ledger, "a switch begins after the deployment's end");
  const auto* unfinished = ledger.host->machine.disk.latest_unfinished();
  if (!unfinished || unfinished->record.spec.deployment != spec.deployment)
    fail(ledger, "a switch begins while another deployment holds the host");
  const Machine& machine = ledger.host->machine;
  if (!is_forward && what.action == effect::SwitchAction::kTest && ledger.stories[spec.deployment].before &&
      ledger.stories[spec.deployment].before->boot == machine.boot)
    expect_to_be_ours(ledger, spec, machine.running, "what runs");
  if (!is_forward && what.action == effect::SwitchAction::kBoot && machine.is_boot_loader_read)
    expect_to_be_ours(ledger, spec, machine.disk.boot_default, "the boot default");
  if (!ledger.host->machine.disk.has(what.closure))
    fail(ledger, "collected as garbage, and needed to switch to: " + what.closure.str());
}

void Invariants::on_durable(Ledger& ledger, const ActivationRecord& record) {
  Story& story = ledger.stories[record.spec.deployment];
  story.spec = record.spec;
  if (!story.before) {
    story.before = story.baseline.value_or(look_at(ledger.host->machine));
    // Without a profile, what ran is the best that there is to boot into.
    if (!story.before->profile && story.before->running) ledger.may_boot.insert(*story.before->running);
  }
  if (record.phase < Phase::kConfirmed) story.deadline = record.deadline;
  if (record.phase == Phase::kRollingBack) story.deadline_back = record.deadline;
  expect_reason_to_turn_back(ledger, story, record);
  if (story.durable && (record.phase != Phase::kEnded || record.outcome != story.durable))
    fail(ledger, "a deployment that had ended goes on");
  const bool is_accepted = (record.phase == Phase::kConfirmed && record.spec.goal != Goal::kTest) ||
                           (record.phase == Phase::kEnded && record.outcome == Outcome::kSucceeded &&
                            record.spec.goal == Goal::kTest);
  for (const auto& profile : record.spec.profiles) {
    if (!is_accepted || !profile.is_system()) continue;
    const bool was_asked = record.spec.magic_rollback && record.spec.goal != Goal::kBoot;
    if (was_asked && !story.confirm_arrived) fail(ledger, "confirmed, and no confirmation had come");
    if (record.spec.goal != Goal::kBoot && !ledger.host->machine.was_somebody_here() &&
        ledger.host->machine.release(profile.new_path).health <= 0)
      fail(ledger, "confirmed, and never healthy");
    ledger.may_run.insert(profile.new_path);
    if (record.spec.goal != Goal::kTest) ledger.may_boot.insert(profile.new_path);
  }
  if (record.phase == Phase::kEnded) {
    story.durable = record.outcome;
    expect_true(ledger, story, record);
  }
}

void Invariants::on_outcome(Ledger& ledger, const ActivationRecord& record) {
  Story& story = ledger.stories[record.spec.deployment];
  story.told = record.outcome;
  ++outcomes_[*record.outcome];
  expect_true(ledger, story, record);
}

// unchanged         it was there already: running, profile and boot default
// succeeded         the new system runs with its units and /etc, and is profile and boot default (goal test:
// it
//                   runs, no more)
// staged            nothing was switched; with goal boot, profile and boot default are the new ones
// failed-unchanged  as it was before, and nothing is at work
// rolled-back       likewise
// superseded        a third system is there, and what names none is as it was before
// rollback-failed   not as it was before; or something went wrong on the host, so that it can't be known
// unknown, skipped  are the controller's: see reported()
void Invariants::expect_true(const Ledger& ledger, const Story& story, const ActivationRecord& record) {
  const Host& host = *ledger.host;
  const std::string outcome(to_string(*record.outcome));
  // A dry run that can't be stopped changes nothing.
  if (host.machine.is_switching() && story.is_touched && record.outcome != Outcome::kRollbackFailed)
    fail(ledger, outcome + " is told while a switch runs");
  // What happened after the last look can't be known, nor what becomes of what somebody is at.
  if (story.seen != host.machine.disturbances() || host.machine.is_somebody_switching()) return;
  const Truth now = look_at(host.machine);
  const std::string wrong = story.before ? not_back(ledger, story, record, now) : "";
  switch (*record.outcome) {
    case Outcome::kSucceeded:
    case Outcome::kUnchanged:
      return expect_new(ledger, story, record);
    case Outcome::kStaged:
      if (record.spec.goal == Goal::kBoot) return expect_new(ledger, story, record);
      if (!wrong.empty()) fail(ledger, "staged is told, and " + wrong);
      return;
    case Outcome::kRolledBack:
    case Outcome::kFailedUnchanged:
      if (!wrong.empty()) fail(ledger, outcome + " is told, and " + wrong);
      return;
    case Outcome::kSuperseded:
      return expect_superseded(ledger, story, record, now);
    case Outcome::kRollbackFailed:
      if (wrong.empty() && story.before && story.before->running && !host.was_hurt() &&
          !host.was_troubled() && !is_doubtful(now) && story.before->etc == story.before->running &&
          record.spec.auto_rollback && record.spec.profiles.size() == 1 && record.times_driven_back <= 10 &&
          !says_that_nobody_can_tell(record.reason))
        fail(ledger, "rollback-failed is told of a host that is back and was never hurt: " + record.reason);
      return;
    default:
      fail(ledger, "an agent can't tell " + outcome);
  }
}

// Empty: the host is as it was before.
std::string Invariants::not_back(const Ledger& ledger, const Story& story, const ActivationRecord& record,
                                 const Truth& now) const {
  const Truth& before = *story.before;
  const bool was_switched = story.is_touched && record.spec.goal != Goal::kBoot;
  // What nothing was done to may still have been rebooted, into what it was to boot.
  const bool is_as_booted = before.boot != now.boot && !was_switched && now.running == before.boot_default;
  // With goal boot it isn't flurry's to say what runs.
  const bool is_anybodys = record.spec.goal == Goal::kBoot && ledger.host->machine.was_somebody_here();
  if (now.running != before.running && !is_as_booted && !is_anybodys)
    return "it runs " + name_of(now.running) + "; it was " + name_of(before.running);
  // A boot default that was another than the profile's, or none, is mended on the way back.
  if (now.boot_default != before.boot_default &&
      now.boot_default != (before.profile ? before.profile : before.running))
    return "it boots " + name_of(now.boot_default) + "; it was " + name_of(before.boot_default);
  if (now.profile != before.profile)
    return "its profile names " + name_of(now.profile) + "; it was " + name_of(before.profile);
  if (now.users != before.users) return "a user's profile is not as it was";
  // What nothing was done to changes only by itself.
  if (!was_switched || !before.running) return "";
  const Machine& machine = ledger.host->machine;
  return not_as_before(before, now, machine.release(*before.running).units, machine.was_somebody_here());
}

bool Invariants::is_third_system(const Story& story, const ActivationSpec& spec,
                                 const std::optional<StorePath>& path) const {
  if (!path || !story.before) return false;
  const Truth& before = *story.before;
  bool is_ours = path == before.running || path == before.profile || path == before.boot_default;
  for (const auto& profile : spec.profiles) is_ours |= path == profile.new_path;
  return !is_ours;
}

// What somebody else made of the host, and could be seen, stays.
void Invariants::expect_to_be_ours(Ledger& ledger, const ActivationSpec& spec,
                                   const std::optional<StorePath>& path, const std::string& what) {
  const Story& story = ledger.stories[spec.deployment];
  const bool is_seen = story.seen == ledger.host->machine.disturbances();
  if (is_seen && !ledger.host->was_hurt() && is_third_system(story, spec, path))
    fail(ledger, what + " is somebody else's, and is taken from him");
}

void Invariants::expect_superseded(const Ledger& ledger, const Story& story, const ActivationRecord& record,
                                   const Truth& now) {
  const Truth& before = *story.before;
  const auto is_third = [&](const std::optional<StorePath>& path) {
    return is_third_system(story, record.spec, path);
  };
  if (!is_third(now.running) && !is_third(now.profile) && !is_third(now.boot_default))
    return fail(ledger, "superseded is told, and there is no third system");
  Truth ours = now;
  if (is_third(now.running)) {
    ours.running = before.running;
    ours.etc = before.etc;
    ours.services = before.services;
    ours.lists = before.lists;
    ours.has_activation_failed = false;
    ours.users = before.users;
  }
  if (is_third(now.profile)) ours.profile = before.profile;
  // Where the loader's files can't be read, the profile has to speak for them.
  const bool is_unknown = !ledger.host->machine.is_boot_loader_read && is_third(now.profile);
  if (is_third(now.boot_default) || is_unknown) ours.boot_default = before.boot_default;
  const std::string wrong = not_back(ledger, story, record, ours);
  if (!wrong.empty()) fail(ledger, "superseded is told, and " + wrong);
}

// A host that became what it was to become, and on which nothing went wrong, stays so. Awaiting its
// confirmation it may yet go back.
void Invariants::expect_reason_to_turn_back(const Ledger& ledger, Story& story,
                                            const ActivationRecord& record) {
  if (record.phase != Phase::kRollingBack || std::exchange(story.is_turned_back, true)) return;
  const Host& host = *ledger.host;
  const Machine& machine = host.machine;
  const bool is_system_alone = record.spec.profiles.size() == 1 && record.spec.profiles[0].is_system();
  if (!is_system_alone || !record.back_from || *record.back_from > Phase::kChecking) return;
  const Release& now = machine.release(record.spec.profiles[0].new_path);
  const bool may_be_unwell = now.health < 1 || now.unit_fails || !now.tells_failed_activation ||
                             now.loses_lines > 0 || now.trouble || now.replaces_agent || now.is_emergency;
  const bool may_be_hurt = host.was_hurt() || host.was_struck() || host.was_troubled() ||
                           machine.was_somebody_here() || story.is_undo_wanted;
  if (may_be_unwell || may_be_hurt || now.takes > Millis(10'000) || !story.before ||
      !story.before->lists.empty())
    return;
  const Truth truth = look_at(machine);
  const bool runs = truth.running == record.spec.profiles[0].new_path;
  if (runs && not_as_new(*story.before, truth, recorded_files(machine, *story.before), now.units).empty())
    fail(ledger, "a host that is well is taken back: " + record.reason);
}

void Invariants::expect_new(const Ledger& ledger, const Story& story, const ActivationRecord& record) {
  const Machine& machine = ledger.host->machine;
  const Goal goal = record.spec.goal;
  for (const auto& profile : record.spec.profiles) {
    if (!profile.is_system()) {
      const auto it = machine.disk.user_profiles.find(profile.name);
      const bool is_set =
          it != machine.disk.user_profiles.end() && it->second.state().path == profile.new_path;
      if (goal != Goal::kTest && !is_set)
        fail(ledger, "good is told, and a user's profile is not the new one");
      continue;
    }
    if (goal != Goal::kBoot && machine.running != profile.new_path)
      fail(ledger, "good is told, and it runs " + name_of(machine.running));
    const bool is_set = machine.disk.system.state().path == profile.new_path;
    const bool boots = machine.disk.boot_default == profile.new_path;
    if (goal != Goal::kTest && record.outcome != Outcome::kUnchanged && !boots)
      fail(ledger, "good is told, and it boots " + name_of(machine.disk.boot_default));
    if (goal != Goal::kTest && !is_set) fail(ledger, "good is told, and the profile is another");
    if (goal == Goal::kBoot || !story.is_touched || !story.before) continue;
    const std::string lacks =
        not_as_new(*story.before, look_at(machine), recorded_files(machine, *story.before),
                   machine.release(profile.new_path).units);
    if (!lacks.empty()) fail(ledger, "good is told, and " + lacks);
  }
}

// What a controller tells is what the host tells, or that nothing was ever begun.
void Invariants::reported(size_t host, const DeploymentId& id, const HostResult& result) {
  Ledger& ledger = ledgers_[host];
  Story& story = ledger.stories[id];
  story.reported = result.outcome;
  timeline_.tell(ledger.host->machine.name,
                 "reported: " + std::string(to_string(result.outcome)) + " " + result.reason);
  if (result.outcome == Outcome::kUnknown) return;
  if (result.outcome == Outcome::kSkipped) {
    if (story.is_touched) fail(ledger, "skipped is told of a host that was switched");
    return;
  }
  // What left no journal, as a dry run doesn't, may be forgotten.
  const auto known = story.durable ? story.durable : story.before ? story.told : std::nullopt;
  if (known && *known != result.outcome && !may_differ(ledger, result.outcome, *known))
    fail(ledger, "the controller tells " + std::string(to_string(result.outcome)) + ", the host " +
                     std::string(to_string(*known)));
  const bool is_harmless = result.outcome == Outcome::kFailedUnchanged ||
                           result.outcome == Outcome::kUnchanged || result.outcome == Outcome::kStaged;
  if (!known && (!is_harmless || story.is_touched || story.before))
    fail(ledger, "the controller tells " + std::string(to_string(result.outcome)) + " before the host does");
}

// A failure that a broken disk refused to write down is told all the same; who takes it up again may end it
// better.
bool Invariants::may_differ(const Ledger& ledger, Outcome told, Outcome durable) const {
  return ledger.host->was_hurt() && is_back(told) && is_back(durable);
}

// Where stopping it failed, which the outcome tells.
bool Invariants::may_still_switch(const Ledger& ledger) const {
  return ledger.host->was_hurt() && std::ranges::any_of(ledger.stories, [](const auto& entry) {
           return entry.second.durable == Outcome::kRollbackFailed || !entry.second.is_touched;
         });
}

Millis Invariants::overdue(const Ledger& ledger) const {
  const Machine& machine = ledger.host->machine;
  if (!machine.is_on || !machine.running || ledger.may_run.contains(*machine.running)) return Millis(0);
  for (const auto& [id, story] : ledger.stories) {
    if (!story.spec || story.durable || story.told == Outcome::kRollbackFailed) continue;
    for (const auto& profile : story.spec->profiles)
      // A frozen driver can't be told from one whose switch hangs until the deadline of the rollback itself.
      if (profile.new_path == machine.running)
        return timeline_.now() -
               (ledger.host->was_frozen() ? std::max(story.deadline, story.deadline_back) : story.deadline);
  }
  return Millis(0);
}

void Invariants::check(size_t host) {
  const Ledger& ledger = ledgers_[host];
  const auto& boot_default = ledger.host->machine.disk.boot_default;
  if (boot_default && !ledger.may_boot.contains(*boot_default))
    fail(ledger, "boots " + name_of(boot_default) + ", which nobody has confirmed");
  const Millis late = overdue(ledger);
  if (!ledger.host->was_hurt() && !ledger.host->was_frozen())
    longest_overdue_ = std::max(longest_overdue_, late);
  if (late > kOverdueMax + ledger.host->injected())
    fail(ledger,
         "runs a system that nobody has confirmed " + std::to_string(late.count()) + " ms past its deadline");
}

void Invariants::check_end() {
  for (const auto& ledger : ledgers_) {
    const Machine& machine = ledger.host->machine;
    if (const auto* open = machine.disk.latest_unfinished())
      fail(ledger, "a deployment has not ended: " + std::string(to_string(open->record.phase)));
    if (ledger.host->shared.lock) fail(ledger, "the lock is held after the end");
    if (ledger.host->deadmen() > 0) fail(ledger, "a deadman lives after the end");
    if (machine.is_switching() && !may_still_switch(ledger)) fail(ledger, "a switch runs after the end");
    for (const auto& [id, story] : ledger.stories) {
      for (const auto& [name, path] : machine.disk.roots)
        if (name.starts_with(id.str()) && !machine.is_emergency)
          fail(ledger, "a GC root is left after the end: " + name);
      if (!story.reported || *story.reported == Outcome::kUnknown) continue;
      const bool differs = story.durable && story.durable != story.reported;
      if (differs && !may_differ(ledger, *story.reported, *story.durable))
        fail(ledger, "reported " + std::string(to_string(*story.reported)) + ", and ended " +
                         std::string(to_string(*story.durable)));
      if (!story.durable && story.is_touched) fail(ledger, "switched, and no journal tells how it ended");
    }
  }
}

}  // namespace flurry::sim
