#include "tests/sim/story.h"

namespace flurry::sim {
namespace {

constexpr Millis kStory{1'800'000};
constexpr Millis kAfterLook{3'600'000};
constexpr uint64_t kStepsMax = 2'000'000;  // of a story that does not end

class Story {
 public:
  explicit Story(const StoryOptions& options);
  StoryEnd run();

 private:
  void furnish(Host& host);
  Declared draw_unit(const Kind& kind, char system);
  Configuration draw_units(char system);
  Trouble draw_trouble();
  Release draw_release(char system);
  Release draw_old(char system);
  void plan_deployments();
  void plan_faults(Host& host);
  void plan_faults(Controller& controller);
  bool turn();

  const StoryOptions options_;
  Timeline timeline_;
  Dice dice_;
  std::list<Host> hosts_;
  std::optional<Invariants> invariants_;
  std::list<Controller> controllers_;
  bool has_broken_unit_ = false;  // of the host that is being furnished
};

Story::Story(const StoryOptions& options) : options_(options), dice_(options.seed) {
  timeline_.trace_to_stderr(options.is_traced);
  for (size_t i = 0; i < options.hosts; ++i)
    furnish(hosts_.emplace_back(timeline_, dice_, "h" + std::to_string(i)));
  invariants_.emplace(timeline_, hosts_);
  plan_deployments();
  for (auto& host : hosts_) plan_faults(host);
  for (auto& controller : controllers_) plan_faults(controller);
}

Declared Story::draw_unit(const Kind& kind, char system) {
  Declared out;
  const bool is_old = system < 'a';
  if (dice_.chance(is_old ? 0.15 : 0.4)) out.version = system;
  if (dice_.chance(is_old ? 0.003 : 0.03))
    out.start = dice_.chance(0.5) ? Declared::Start::kFails : Declared::Start::kDependencyFails;
  out.reload_fails = dice_.chance(is_old ? 0.05 : 0.08);
  if (kind.name == "broken.service") out.start = Declared::Start::kFails;
  return out;
}

Configuration Story::draw_units(char system) {
  Configuration out;
  for (const auto& kind : kinds()) {
    if (kind.name == "broken.service" ? !has_broken_unit_ : system >= 'a' && dice_.chance(0.04)) continue;
    out.emplace(kind.name, draw_unit(kind, system));
  }
  return out;
}

Trouble Story::draw_trouble() {
  constexpr int kExits[] = {1, 2, 4, 11, 100, 101};
  Trouble out{.at = static_cast<SwitchStep>(dice_.below(8))};
  out.hangs = dice_.chance(0.2);
  if (dice_.chance(0.7)) out.exit = kExits[dice_.below(std::size(kExits))];
  return out;
}

Release Story::draw_release(char system) {
  Release out{.units = draw_units(system)};
  if (dice_.chance(0.22)) out.trouble = draw_trouble();
  if (dice_.chance(0.05)) out.failing_activations = 1'000;
  out.is_emergency = dice_.chance(0.02);
  out.tells_failed_activation = !dice_.chance(0.03);
  if (dice_.chance(0.05)) out.loses_lines = 1;
  out.takes = dice_.chance(0.05) ? dice_.between(10'000, 40'000) : dice_.between(50, 3'000);
  out.cuts_network = dice_.chance(0.08);
  out.replaces_agent = dice_.chance(0.15);
  if (dice_.chance(0.1)) out.health = 0;
  if (dice_.chance(0.1)) out.health = 0.7;
  if (dice_.chance(0.07)) out.unit_fails = dice_.between(0, 8'000);
  return out;
}

// It did run: what goes wrong with it goes wrong on the way back.
Release Story::draw_old(char system) {
  Release out{.units = draw_units(system)};
  if (dice_.chance(0.12)) {
    out.trouble = draw_trouble();
    if (dice_.chance(0.7)) out.trouble->times = 1;
  }
  if (dice_.chance(0.04)) out.failing_activations = dice_.chance(0.5) ? 1 : 1'000;
  if (dice_.chance(0.05)) out.loses_lines = 1;
  return out;
}

// What was there before: mostly a system that is committed; else one that only runs, or none at all.
void Story::furnish(Host& host) {
  Machine& machine = host.machine;
  has_broken_unit_ = dice_.chance(0.2);
  for (const char c : {'a', 'b', 'c', 'd'}) machine.releases.emplace(path_of(c), draw_release(c));
  for (const char c : {'0', '1', '2', '3'}) machine.releases.emplace(path_of(c), draw_old(c));
  machine.releases.emplace(path_of('x'), Release{.units = draw_units('x')});
  host.choices = {path_of('a'), path_of('x'), path_of('x')};
  machine.is_boot_loader_read = dice_.chance(0.5);
  machine.has_etc_link = dice_.chance(0.9);
  for (const char c : {'a', 'b', 'c', 'd'}) {
    Release home;
    if (dice_.chance(0.1)) home.exit = 1;
    home.hangs = dice_.chance(0.03);
    machine.releases.emplace(path_of(c, "home"), home);
  }
  if (dice_.chance(0.04)) machine.boot_loader_fails = dice_.chance(0.5) ? 1 : 0.5;
  if (machine.boot_loader_fails > 0) host.shared.on_fault(Millis(0), true);
  const bool is_bare = dice_.chance(0.04);
  if (is_bare) return;
  Disk& disk = machine.disk;
  for (const char c : {'0', '1', '2'}) {
    disk.store.insert(path_of(c));
    disk.system.set(path_of(c));
  }
  if (dice_.chance(0.2)) disk.system.present = 1;
  disk.boot_default = disk.system.state().path;
  machine.running = dice_.chance(0.15) ? path_of('3') : *disk.boot_default;
  disk.store.insert(*machine.running);
  machine.etc = machine.running;
  machine.services.boot(machine.files());
  for (const auto& kind : kinds())
    if (!kind.is_wanted && dice_.chance(0.4)) machine.services.start_some({kind.name}, machine.files());
  if (dice_.chance(0.1)) machine.queue_unrelated_job(dice_.between(1'000, 600'000));
  host.choices.push_back(*machine.running);
  if (dice_.chance(0.5)) {
    disk.store.insert(path_of('0', "home"));
    disk.user_profiles["home"].set(path_of('0', "home"));
  }
}

void Story::plan_deployments() {
  const size_t count = 1 + (dice_.chance(0.3) ? dice_.below(3) : 0);
  Millis start{0};
  for (size_t i = 0; i < count; ++i) {
    Plan plan{.number = i, .hosts = {}, .new_system = path_of("abcd"[i]), .new_home = {}};
    for (size_t h = 0; h < hosts_.size(); ++h)
      if (i == 0 || dice_.chance(0.6)) plan.hosts.push_back(h);
    if (plan.hosts.empty()) continue;
    if (dice_.chance(0.15)) plan.new_home = path_of("abcd"[i], "home");
    constexpr Goal kGoals[] = {Goal::kTest, Goal::kBoot, Goal::kDryActivate};
    if (dice_.chance(0.12)) plan.goal = kGoals[dice_.below(3)];
    plan.magic_rollback = !dice_.chance(0.05);
    plan.auto_rollback = !dice_.chance(0.04);
    plan.allow_no_rollback = dice_.chance(0.3);
    plan.parallel = 1 + dice_.below(plan.hosts.size());
    Controller& controller = controllers_.emplace_back(timeline_, dice_, hosts_, *invariants_, plan);
    timeline_.after(start, [&controller] { controller.start(); });
    start += dice_.chance(0.5) ? dice_.between(0, 20'000) : dice_.between(60'000, 400'000);
  }
}

void Story::plan_faults(Host& host) {
  for (const auto& kind : kinds())
    if (kind.may_end && dice_.chance(0.2))
      timeline_.after(dice_.between(0, 60'000),
                      [&host, name = kind.name] { host.machine.end_by_itself(name); });
  while (dice_.chance(0.08)) host.plan(1 + dice_.below(120), Fault::kRebuild);
  while (dice_.chance(0.04)) host.plan(1 + dice_.below(120), Fault::kHoldLock);
  if (dice_.chance(0.2)) return;
  constexpr Fault kFaults[] = {Fault::kKillAgent,   Fault::kKillAgent, Fault::kStopAgent, Fault::kFreezeAgent,
                               Fault::kKillDeadman, Fault::kPowerCut,  Fault::kDiskFull,  Fault::kCutNetwork};
  // At a step of its deployment, or at any time.
  while (dice_.chance(0.45)) host.plan(1 + dice_.below(120), kFaults[dice_.below(std::size(kFaults))]);
  while (dice_.chance(0.2))
    timeline_.after(dice_.between(0, 120'000),
                    [&host, fault = kFaults[dice_.below(std::size(kFaults))]] { host.strike(fault); });
  while (dice_.chance(0.4)) timeline_.after(dice_.between(0, 120'000), [&host] { host.collect_garbage(); });
}

void Story::plan_faults(Controller& controller) {
  if (dice_.chance(0.15)) timeline_.after(dice_.between(100, 60'000), [&controller] { controller.die(); });
  if (dice_.chance(0.05))
    timeline_.after(dice_.between(100, 60'000), [&controller] { controller.interrupt(); });
  if (dice_.chance(0.1))
    timeline_.after(dice_.between(100, 60'000), [this, &controller] {
      controller.suspend_until(timeline_.now() + dice_.between(1'000, 600'000));
    });
  for (size_t i = 0; i < controller.links().size(); ++i) {
    Link& link = controller.links()[i];
    if (dice_.chance(0.1))
      timeline_.after(dice_.between(0, 60'000), [this, &link] {
        link.lose_requests_until(timeline_.now() + dice_.between(1'000, 300'000));
      });
    if (dice_.chance(0.1))
      timeline_.after(dice_.between(0, 60'000), [this, &link] {
        link.lose_answers_until(timeline_.now() + dice_.between(1'000, 300'000));
      });
    if (dice_.chance(0.03))
      timeline_.after(dice_.between(0, 60'000), [&controller, i] { controller.request_rollback(i); });
  }
}

bool Story::turn() {
  if (invariants_->broken() || timeline_.steps() > kStepsMax || !timeline_.turn()) return false;
  // Looking at a thousand hosts after each of their events would take all day; no deadline is that short.
  if (hosts_.size() > 50 && timeline_.steps() % 97 != 0) return true;
  for (size_t i = 0; i < hosts_.size(); ++i) invariants_->check(i);
  return true;
}

StoryEnd Story::run() {
  const TimePoint look = timeline_.now() + kStory;
  const TimePoint end = look + kAfterLook;
  timeline_.at(look, [this] {
    for (auto& host : hosts_) host.heal();
  });
  bool is_over = false;
  timeline_.at(end, [&is_over] { is_over = true; });
  while (!is_over && turn()) {
  }
  std::optional<std::string> broken = invariants_->broken();
  if (!broken && !is_over) broken = "the story does not end";
  if (!broken) {
    invariants_->check_end();
    broken = invariants_->broken();
  }
  for (const auto& controller : controllers_) {
    if (broken) break;
    if (controller.most_under_way() > controller.plan().parallel)
      broken = "more hosts under way than allowed";
    if (!controller.is_dead() && !controller.is_finished()) broken = "a controller has not finished";
  }
  return {broken, timeline_.steps(), invariants_->longest_overdue(), invariants_->outcomes()};
}

}  // namespace

StoryEnd run_story(const StoryOptions& options) { return Story(options).run(); }

std::string replay_command(const StoryOptions& options) {
  return "SIM_SEED=" + std::to_string(options.seed) + " SIM_HOSTS=" + std::to_string(options.hosts) +
         " SIM_TRACE=1 build/bin/sim_test";
}

}  // namespace flurry::sim
