#include "tests/sim/controller.h"

#include <algorithm>

namespace flurry::sim {
namespace {

// By then every action has ended, whatever came of it.
constexpr Millis kActionMax{30'000};

const Error kLost{ErrorKind::kUnreachable, "lost"};

std::vector<HostConfig> configs_of(const Plan& plan) {
  std::vector<HostConfig> out;
  for (const size_t host : plan.hosts) {
    HostConfig config{.name = *HostName::parse("h" + std::to_string(host))};
    config.activation_timeout = Millis(20'000);
    config.confirm_timeout = Millis(10'000);
    config.health.min_healthy = Millis(2000);
    config.health.deadline = Millis(15'000);
    config.health.checks.push_back({.name = "site", .kind = UnitCheck{"web.service"}});
    config.magic_rollback = plan.magic_rollback;
    config.auto_rollback = plan.auto_rollback;
    out.push_back(std::move(config));
  }
  return out;
}

std::vector<HostTicket> tickets_for(const Plan& plan) {
  std::vector<HostTicket> out;
  for (const size_t host : plan.hosts) out.push_back({.nonce = plan.nonce(host), .fixed = {}});
  return out;
}

DeploymentOptions options_of(const Plan& plan) {
  DeploymentOptions out{.deployment = plan.id()};
  out.goal = plan.goal;
  out.allow_no_rollback = plan.allow_no_rollback;
  return out;
}

std::vector<Link> links_to(Timeline& timeline, Dice& dice, std::list<Host>& hosts, const Plan& plan) {
  std::vector<Host*> by_index;
  for (auto& host : hosts) by_index.push_back(&host);
  std::vector<Link> out;
  for (const size_t host : plan.hosts) out.emplace_back(timeline, dice, *by_index[host]);
  return out;
}

AgentView view_of(const Process::Answer& answer) {
  if (!answer.known) return AgentView{.known = false};
  AgentView view{.known = true, .revision = answer.revision, .phase = answer.record->phase};
  view.back_from = answer.record->back_from;
  view.outcome = answer.record->outcome;
  view.reason = answer.record->reason;
  return view;
}

}  // namespace

Controller::Controller(Timeline& timeline, Dice& dice, std::list<Host>& hosts, Invariants& invariants,
                       Plan plan)
    : timeline_(timeline),
      dice_(dice),
      invariants_(invariants),
      plan_(std::move(plan)),
      configs_(configs_of(plan_)),
      options_(options_of(plan_)),
      links_(links_to(timeline, dice, hosts, plan_)),
      rollout_(configs_, options_, tickets_for(plan_), plan_.parallel),
      ended_(plan_.hosts.size()) {
  invariants_.know(plan_);
}

void Controller::step(std::vector<RolloutEvent> events) {
  if (is_dead_) return;
  if (timeline_.now() < suspended_until_)
    return timeline_.at(suspended_until_, [this, events = std::move(events)] { step(events); });
  for (const auto& action : rollout_.step(timeline_.now(), events)) carry(action);
  size_t under_way = 0;
  for (size_t i = 0; i < links_.size(); ++i) {
    const HostDeployment& host = rollout_.hosts()[i];
    under_way += host.is_under_way();
    if (host.is_ended() && !ended_[i]) invariants_.reported(plan_.hosts[i], plan_.id(), host.result());
    ended_[i] = host.is_ended();
  }
  most_under_way_ = std::max(most_under_way_, under_way);
  const auto wake = rollout_.next_wakeup();
  if (!wake) return;
  const TimePoint next = std::max(*wake, timeline_.now() + Millis(1));
  if (next_wake_ && *next_wake_ <= next && *next_wake_ > timeline_.now()) return;
  next_wake_ = next;
  timeline_.at(next, [this] { step({}); });
}

// The first answer counts; without any, the deadline is one.
Controller::Answer Controller::answer_to(ActionId id) {
  const auto is_answered = std::make_shared<bool>(false);
  const Answer answer = [this, id, is_answered](Result<ActionValue> result) {
    if (std::exchange(*is_answered, true)) return;
    timeline_.after(Millis(0), [this, id, result = std::move(result)] { step({ActionEnded{id, result}}); });
  };
  timeline_.after(kActionMax, [answer] { answer(Error{ErrorKind::kTimedOut, "no answer"}); });
  return answer;
}

void Controller::carry(const HostAction& action) {
  const Answer answer = answer_to(action.id);
  const size_t at = action.host;
  if (std::holds_alternative<action::Evaluate>(action.what) ||
      std::holds_alternative<action::Build>(action.what)) {
    const auto drv = *StorePath::parse("/nix/store/" + std::string(32, 'd') + "-d.drv");
    HostDerivations out{{{system_profile(plan_.new_system), drv, plan_.new_system}}};
    if (plan_.new_home) out.profiles.push_back({{"home", "alice", ""}, drv, *plan_.new_home});
    return timeline_.after(dice_.between(10, 2000), [answer, out] { answer(ActionValue(out)); });
  }
  if (std::holds_alternative<action::Connect>(action.what)) return connect(at, answer);
  if (const auto* what = std::get_if<action::Copy>(&action.what)) return copy(at, *what, answer);
  if (const auto* what = std::get_if<action::Begin>(&action.what)) return begin(at, what->spec, answer);
  if (const auto* what = std::get_if<action::Confirm>(&action.what)) return confirm(at, what->nonce, answer);
  const auto* what = std::get_if<action::Observe>(&action.what);
  observe(at, what == nullptr, what ? what->seen : 0, answer);
}

Process::OnAnswer Controller::send_back(size_t at, const Answer& answer) {
  return [this, at, answer](Result<Process::Answer> result) {
    links_[at].back(
        [answer, result] {
          if (!result) return answer(result.error());
          answer(ActionValue(view_of(*result)));
        },
        [answer] { answer(kLost); });
  };
}

void Controller::connect(size_t at, const Answer& answer) {
  Link& link = links_[at];
  const auto lost = [answer] { answer(kLost); };
  link.forth(
      [this, &link, answer, lost] {
        link.dial();
        if (!link.agent()) return lost();
        link.agent()->held_by([this, &link, answer, lost](std::optional<std::string> held_by) {
          HostFacts facts{.state = {}, .system = {}, .held_by = std::move(held_by)};
          ActivationSpec spec{
              .deployment = plan_.id(), .nonce = {}, .who = {}, .revision = {}, .profiles = {}};
          spec.profiles.push_back(system_profile(plan_.new_system));
          if (plan_.new_home) spec.profiles.push_back({{"home", "alice", ""}, *plan_.new_home});
          const Machine& machine = link.host().machine;
          facts.state = machine.state(&spec);
          if (machine.running)
            facts.half_switched = half_switched(facts.state, machine.etc_of(*machine.running));
          link.back([answer, facts] { answer(ActionValue(facts)); }, lost);
        });
      },
      lost);
}

// What is copied is held as if by a root of its own until somebody activates it.
void Controller::copy(size_t at, const action::Copy& copy, const Answer& answer) {
  Link& link = links_[at];
  const auto lost = [answer] { answer(kLost); };
  link.forth(
      [this, &link, copy, answer, lost] {
        Disk& disk = link.host().machine.disk;
        if (disk.refuses(timeline_.now()))
          return answer(Error{ErrorKind::kFailed, "no space left on device"});
        for (const auto& path : copy.paths) {
          disk.store.insert(path);
          disk.roots.insert_or_assign("incoming-" + path.str().substr(11), path);
        }
        link.back([answer] { answer(ActionValue{}); }, lost);
      },
      lost);
}

void Controller::begin(size_t at, const ActivationSpec& spec, const Answer& answer) {
  Link& link = links_[at];
  const auto lost = [answer] { answer(kLost); };
  const auto pid = link.pid();
  link.forth_perhaps_late(
      [&link, spec, answer, lost, pid] {
        Process* agent = pid ? link.host().agent(*pid) : nullptr;
        if (!agent) return lost();
        agent->begin(spec, [&link, answer, lost](Result<void> result) {
          link.back(
              [answer, result] {
                if (!result) return answer(result.error());
                answer(ActionValue{});
              },
              lost);
        });
      },
      lost);
}

void Controller::observe(size_t at, bool dials, uint64_t seen, const Answer& answer) {
  Link& link = links_[at];
  const auto lost = [answer] { answer(kLost); };
  link.forth(
      [this, &link, at, dials, seen, answer, lost] {
        if (dials) link.dial();
        Process* agent = link.agent();
        if (!agent) return lost();
        agent->observe(plan_.id(), seen, send_back(at, answer));
      },
      lost);
}

void Controller::confirm(size_t at, const std::string& nonce, const Answer& answer) {
  Link& link = links_[at];
  const auto lost = [answer] { answer(kLost); };
  link.forth_perhaps_late(
      [this, &link, at, nonce, answer, lost] {
        link.dial();
        if (!link.agent()) return lost();
        invariants_.confirm_arrives(plan_.hosts[at], plan_.id());
        link.agent()->confirm(plan_.id(), nonce, send_back(at, answer));
      },
      lost);
}

void Controller::request_rollback(size_t at) {
  Host& host = links_[at].host();
  invariants_.undo_is_wanted(plan_.hosts[at], plan_.id());
  if (host.is_reachable()) host.connect().roll_back(plan_.id(), plan_.nonce(plan_.hosts[at]));
}

}  // namespace flurry::sim
