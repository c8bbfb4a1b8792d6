#pragma once

#include <functional>
#include <list>

#include "tests/sim/disk.h"
#include "tests/sim/services.h"

namespace flurry::sim {

// What switch-to-configuration does, in this order.
enum class SwitchStep { kLists, kStop, kEtc, kRunning, kReload, kRestart, kStart, kEnd };

// Breaks a switch off half way through a step.
struct Trouble {
  SwitchStep at = SwitchStep::kLists;
  std::optional<int> exit = {};  // none: killed
  bool hangs = false;
  int times = 1'000;
};

// How a closure behaves on a host; drawn once.
struct Release {
  Configuration units = {};
  std::optional<int> exit = 0;  // of what is no system's
  bool hangs = false;
  std::optional<Trouble> trouble = {};
  int failing_activations = 0;  // the first ones
  bool is_emergency = false;    // systemd gives up on it, and stops nearly all there is
  bool tells_failed_activation = true;
  double loses_lines = 0;  // chance that what a switch printed can't be read
  Millis takes{500};
  bool cuts_network = false;
  bool replaces_agent = false;
  double health = 1;                 // chance that a check passes
  std::optional<Millis> unit_fails;  // so long after it began to run
};

// What somebody else does with nixos-rebuild, as far as it goes.
struct Rebuild {
  StorePath path;
  bool sets_profile = false;
  bool installs_boot = false;
  bool switches = false;
};

// What a host is apart from flurry: a disk, a kernel, systemd with the units that switches run in.
class Machine {
 public:
  Machine(Timeline& its_timeline, Dice& its_dice, std::string its_name)
      : timeline(its_timeline), dice(its_dice), name(std::move(its_name)) {}

  // What can be seen of it; of the units only where a record says which.
  SystemState state(const ActivationSpec* spec) const;
  SystemState state(const ActivationRecord& record, const effect::ReadState& what) const;
  const Release& release(const StorePath& path) const;
  // Whose unit files are in /etc.
  const Configuration& files() const;
  std::optional<std::string> etc_of(const StorePath& system) const;

  // --- units that run a switch ----------------------------------------------------------------------------
  using OnExit = std::function<void(std::optional<int>)>;
  void start_switch(const effect::RunSwitch& what, const ActivationSpec& spec);
  bool is_unit_running(const std::string& unit) const;
  // Calls back when the unit has ended, at once where it has; with nothing where it was killed or never was.
  void wait_for_unit(const std::string& unit, OnExit then);
  SwitchExit exit_of(const std::string& unit) const;
  void stop_units(const DeploymentId& id);
  bool is_switching() const;

  // --- what happens without flurry -------------------------------------------------------------------------
  void rebuild(const Rebuild& what);
  void hold_lock(Millis time);
  void end_by_itself(const std::string& service);
  void queue_unrelated_job(Millis time);
  void power_off();
  void power_on();
  // How often something did; what was seen before the last time may be so no more.
  uint64_t disturbances() const { return disturbances_; }
  bool was_somebody_here() const { return rebuilds_ > 0; }
  bool is_somebody_switching() const;

  Timeline& timeline;
  Dice& dice;
  const std::string name;
  Disk disk;
  std::map<StorePath, Release> releases;
  double boot_loader_fails = 0;      // chance; halfway, or before it began
  bool is_boot_loader_read = false;  // flurry can make out what its files name
  bool has_etc_link = true;

  // kernel: gone with the power
  bool is_on = true;
  uint64_t boot = 1;
  std::optional<StorePath> running;
  std::optional<StorePath> etc;  // whose
  Services services;
  bool has_activation_failed = false;  // the last one, of whichever system
  bool is_emergency = false;
  std::map<std::string, StorePath> user_active;  // what a user profile's activation last did
  // Told before a switch touches anything.
  std::function<void(const effect::RunSwitch&, const ActivationSpec&)> on_switch;
  std::function<void()> on_replaced_agent;
  std::function<void()> on_emergency;
  std::function<void(const StorePath&)> on_rebuild;
  std::function<void(Millis takes)> on_trouble;

 private:
  struct Unit {
    std::optional<DeploymentId> deployment;  // none: somebody else's
    StorePath closure;
    bool is_system = true;
    bool installs_boot = false;
    bool is_running = true;
    std::optional<int> exit = {};
    std::set<std::string> to_stop = {};
    Said said = {};
    std::list<OnExit> waiting = {};
  };

  bool is_locked(const std::string& but) const;
  void start_unit(const std::string& name_of_unit, Unit unit, effect::SwitchAction action,
                  const std::string& profile);
  void later(const std::string& unit, Millis delay, std::function<void()> then);
  void install(const std::string& unit);
  void step(const std::string& unit, SwitchStep at);
  bool is_broken_off(const std::string& unit, SwitchStep at);
  void do_half(Unit& unit, SwitchStep at);
  bool carry_out(const std::string& unit, SwitchStep at);
  void begin_to_run(const StorePath& system);
  void start_services(const std::string& unit);
  void end_unit(const std::string& unit, std::optional<int> exit);

  std::map<std::string, Unit> units_;
  std::map<std::string, std::string> journal_;  // what units printed, whenever they ran
  std::map<StorePath, int> troubles_;
  std::map<StorePath, int> activations_;
  TimePoint locked_until_{};
  uint64_t disturbances_ = 0;
  uint64_t rebuilds_ = 0;
};

}  // namespace flurry::sim
