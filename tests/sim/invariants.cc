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
         outcome == Outcome::kRollbackFailed;
}

std::string name_of(const std::optional<StorePath>& path) {
  return path ? path->str().substr(11, 1) : "nothing";
}

}  // namespace

Invariants::Invariants(Timeline& timeline, std::list<Host>& hosts) : timeline_(timeline) {
  ledgers_.reserve(hosts.size());
  for (auto& host : hosts) {
    Ledger& ledger = ledgers_.emplace_back(Ledger{&host, {}, {}, {}});
    const Snapshot now = look(host);
    for (const auto& path : {now.running, now.boot_default, now.profile})
      if (path) {
        ledger.may_run.insert(*path);
        ledger.may_boot.insert(*path);
      }
    host.machine.on_switch = [this, &ledger](const auto& what, const auto& spec) {
      on_switch(ledger, what, spec);
    };
    host.shared.on_durable = [this, &ledger](const auto& record) { on_durable(ledger, record); };
    host.shared.on_outcome = [this, &ledger](const auto& record, bool) { on_outcome(ledger, record); };
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

Invariants::Snapshot Invariants::look(const Host& host) const {
  const Machine& machine = host.machine;
  Snapshot out{machine.running, machine.disk.boot_default, machine.disk.system.state().path, {}};
  for (const auto& [name, profile] : machine.disk.user_profiles)
    if (profile.present) out.users[name] = profile.state().path;
  return out;
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
  if (!ledger.host->machine.disk.has(what.closure))
    fail(ledger, "collected as garbage, and needed to switch to: " + what.closure.str());
}

void Invariants::on_durable(Ledger& ledger, const ActivationRecord& record) {
  Story& story = ledger.stories[record.spec.deployment];
  story.spec = record.spec;
  if (!story.before) {
    story.before = look(*ledger.host);
    // Without a profile, what ran is the best that there is to boot into.
    if (!story.before->profile && story.before->running) ledger.may_boot.insert(*story.before->running);
  }
  if (record.phase < Phase::kConfirmed) story.deadline = record.deadline;
  if (record.phase == Phase::kRollingBack) story.deadline_back = record.deadline;
  if (story.durable && (record.phase != Phase::kEnded || record.outcome != story.durable))
    fail(ledger, "a deployment that had ended goes on");
  const bool is_accepted = (record.phase == Phase::kConfirmed && record.spec.goal != Goal::kTest) ||
                           (record.phase == Phase::kEnded && record.outcome == Outcome::kSucceeded &&
                            record.spec.goal == Goal::kTest);
  for (const auto& profile : record.spec.profiles) {
    if (!is_accepted || !profile.is_system()) continue;
    const bool was_asked = record.spec.magic_rollback && record.spec.goal != Goal::kBoot;
    if (was_asked && !story.confirm_arrived) fail(ledger, "confirmed, and no confirmation had come");
    if (record.spec.goal != Goal::kBoot && ledger.host->machine.release(profile.new_path).health <= 0)
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
// succeeded         the new system runs, and is profile and boot default (goal test: it runs, no more)
// staged            nothing was switched; with goal boot, profile and boot default are the new ones
// failed-unchanged  as it was before, and nothing is at work
// rolled-back       likewise
// rollback-failed   not as it was before; or something went wrong on the host, so that it can't be known
// unknown, skipped  are the controller's: see reported()
void Invariants::expect_true(const Ledger& ledger, const Story& story, const ActivationRecord& record) {
  const Host& host = *ledger.host;
  Snapshot now = look(host);
  // What nothing was done to may still have been rebooted, into what it was to boot.
  const bool was_rebooted = record.before.boot_id != host.machine.state(nullptr).boot_id;
  const bool was_switched = story.is_touched && record.spec.goal != Goal::kBoot;
  if (was_rebooted && !was_switched && story.before && now.running == story.before->boot_default)
    now.running = story.before->running;
  // A boot default that was another than the profile's, or none, is mended on the way back.
  if (story.before &&
      now.boot_default == (story.before->profile ? story.before->profile : story.before->running))
    now.boot_default = story.before->boot_default;
  const std::string outcome(to_string(*record.outcome));
  const bool is_as_before = !story.before || now == *story.before;
  // A dry run that can't be stopped changes nothing.
  if (host.machine.is_switching() && story.is_touched && record.outcome != Outcome::kRollbackFailed)
    fail(ledger, outcome + " is told while a switch runs");
  switch (*record.outcome) {
    case Outcome::kSucceeded:
    case Outcome::kUnchanged:
      return expect_new(ledger, record);
    case Outcome::kStaged:
      if (record.spec.goal == Goal::kBoot) return expect_new(ledger, record);
      if (!is_as_before) fail(ledger, "staged is told, and something has changed");
      return;
    case Outcome::kRolledBack:
    case Outcome::kFailedUnchanged:
      if (!is_as_before)
        fail(ledger, outcome + " is told, and it runs " + name_of(now.running) + ", boots " +
                         name_of(now.boot_default) + ", its profile names " + name_of(now.profile) +
                         "; it was " + name_of(story.before->running) + ", " +
                         name_of(story.before->boot_default) + ", " + name_of(story.before->profile));
      return;
    case Outcome::kRollbackFailed:
      if (is_as_before && story.before->running && !host.was_hurt() && record.spec.auto_rollback &&
          record.spec.profiles.size() == 1 && record.times_driven_back <= 10)
        fail(ledger, "rollback-failed is told of a host that is back and was never hurt: " + record.reason);
      return;
    default:
      fail(ledger, "an agent can't tell " + outcome);
  }
}

void Invariants::expect_new(const Ledger& ledger, const ActivationRecord& record) {
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
        if (name.starts_with(id.str())) fail(ledger, "a GC root is left after the end: " + name);
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
