#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/activation.h"
#include "tests/sim/timeline.h"

namespace flurry::sim {

// A Nix profile: its generations and the one that it names.
struct Profile {
  std::map<uint64_t, StorePath> generations;
  std::optional<uint64_t> present;

  ProfileState state() const;
  void set(const StorePath& path);
  void restore(std::optional<uint64_t> generation, const std::optional<StorePath>& path);
};

struct JournalFile {
  uint64_t sequence = 0;
  ActivationRecord record;
};

enum class Written { kDone, kRefused, kRefusedYetDurable };

// What a host keeps without power: store, profiles, boot loader, GC roots, journal.
class Disk {
 public:
  // While it refuses writes; one that is refused may be durable all the same.
  void refuse_until(TimePoint when) { refuses_until_ = when; }
  bool refuses(TimePoint now) const { return now < refuses_until_; }

  // A torn write reads as the state before it, so it is one that was not done.
  Written write(const ActivationRecord& record, TimePoint now, Dice& dice);
  const JournalFile* find(const DeploymentId& id) const;
  const JournalFile* latest_unfinished() const;

  // What `nix-collect-garbage` does, with `-d` also to old generations.
  void collect_garbage(const std::optional<StorePath>& running, bool delete_old);
  bool has(const StorePath& path) const { return store.contains(path); }

  std::set<StorePath> store;
  std::map<std::string, StorePath> roots;
  Profile system;
  std::map<std::string, Profile> user_profiles;
  std::optional<StorePath> boot_default;
  std::map<DeploymentId, JournalFile> journal;

 private:
  TimePoint refuses_until_{};
};

}  // namespace flurry::sim
