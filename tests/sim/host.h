#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/activation.h"
#include "tests/sim/timeline.h"

namespace flurry::sim {

// How the new system behaves on a host; drawn once.
struct Release {
  int switch_exit = 0;
  bool hangs = false;
  bool cuts_network = false;
  bool is_healthy = true;
};

// One host with its disk, its kernel, systemd, an agent and a deadman, around the production Activation.
class Host {
 public:
  Host(Timeline& timeline, Dice& dice, std::string name, Release release);

  static StorePath old_system();
  static StorePath new_system();

  // --- what its network carries ---------------------------------------------------------------------------
  bool is_reachable() const {
    return is_on_ && !is_cut_ && !(release_.cuts_network && running_ == new_system());
  }
  void wake_agent();  // a connection starts it where it doesn't run
  void begin(const ActivationSpec& spec);
  void confirm(const std::string& nonce);
  // What an agent tells: only what is durable.
  const ActivationRecord* published() const { return published_ ? &*published_ : nullptr; }
  SystemState state() const;

  // --- faults ---------------------------------------------------------------------------------------------
  void kill_agent();
  void power_cut(Millis off);
  void set_cut(bool is_cut) { is_cut_ = is_cut; }

  // --- truth ----------------------------------------------------------------------------------------------
  const StorePath& running() const { return *running_; }
  const StorePath& boot_default() const { return boot_default_; }
  const StorePath& profile() const { return profile_; }
  bool was_confirmed() const { return was_confirmed_; }
  bool was_ever_switched() const { return was_ever_switched_; }
  bool is_on() const { return is_on_; }
  // How long it has run a system that nobody confirmed, past the recorded deadline; zero if it hasn't.
  Millis overdue() const;
  const std::string& name() const { return name_; }

 private:
  struct Unit {
    std::optional<int> exit;
    bool is_done = false;
  };
  struct Waiting {
    EffectId effect;
    std::string unit;
  };

  void drive(std::vector<ActivationInput> inputs);
  void start(const Effect& effect);
  void finish(uint64_t life, EffectId id, Result<EffectValue> result, std::function<void()> apply);
  void start_switch(const effect::RunSwitch& what, EffectId id);
  void end_unit(const std::string& unit, std::optional<int> exit, const effect::RunSwitch& what);
  void start_agent();
  void watch_deadline();

  Timeline& timeline_;
  Dice& dice_;
  const std::string name_;
  const Release release_;

  // disk
  StorePath boot_default_ = old_system();
  StorePath profile_ = old_system();
  std::optional<ActivationRecord> journal_;
  // kernel: gone with the power
  bool is_on_ = true;
  uint64_t boot_ = 1;
  std::optional<StorePath> running_ = old_system();
  std::map<std::string, Unit> units_;
  bool deadman_armed_ = false;
  // the agent's process
  bool agent_runs_ = false;
  uint64_t life_ = 0;  // counts agent processes; effects of an earlier one are nobody's
  std::optional<Activation> activation_;
  std::vector<Waiting> waiting_;
  std::optional<ActivationRecord> published_;

  bool is_cut_ = false;
  bool was_confirmed_ = false;
  bool was_ever_switched_ = false;
};

}  // namespace flurry::sim
