#pragma once

#include <functional>
#include <list>

#include "tests/sim/disk.h"

namespace flurry::sim {

// How a closure behaves on a host; drawn once.
struct Release {
  std::optional<int> switch_exit = 0;  // none: killed
  bool hangs = false;
  Millis takes{500};
  bool cuts_network = false;
  bool replaces_agent = false;
  double health = 1;                 // chance that a check passes
  std::optional<Millis> unit_fails;  // so long after it began to run
};

// What a host is apart from flurry: a disk, a kernel, systemd with the units that switches run in.
class Machine {
 public:
  Machine(Timeline& its_timeline, Dice& its_dice, std::string its_name)
      : timeline(its_timeline), dice(its_dice), name(std::move(its_name)) {}

  SystemState state(const ActivationSpec* spec) const;
  const Release& release(const StorePath& path) const;

  // --- units that run a switch ----------------------------------------------------------------------------
  using OnExit = std::function<void(std::optional<int>)>;
  void start_switch(const effect::RunSwitch& what, const ActivationSpec& spec);
  bool is_unit_running(const std::string& unit) const;
  // Calls back when the unit has ended, at once where it has; with nothing where it was killed or never was.
  void wait_for_unit(const std::string& unit, OnExit then);
  void stop_units(const DeploymentId& id);
  bool is_switching() const;

  void power_off();
  void power_on();

  Timeline& timeline;
  Dice& dice;
  const std::string name;
  Disk disk;
  std::map<StorePath, Release> releases;
  double boot_loader_fails = 0;  // chance; halfway, or before it began

  // kernel: gone with the power
  bool is_on = true;
  uint64_t boot = 1;
  std::optional<StorePath> running;
  TimePoint runs_since{};
  std::map<std::string, StorePath> user_active;  // what a user profile's activation last did
  // Told before a switch touches anything.
  std::function<void(const effect::RunSwitch&, const ActivationSpec&)> on_switch;
  std::function<void()> on_replaced_agent;

 private:
  struct Unit {
    DeploymentId deployment;
    bool is_running = true;
    bool is_system = true;
    std::optional<int> exit;
    std::list<OnExit> waiting;
  };

  void apply(const effect::RunSwitch& what, const ActivationSpec& spec);
  void end_unit(const std::string& unit, std::optional<int> exit);

  std::map<std::string, Unit> units_;
};

}  // namespace flurry::sim
