#include "tests/sim/disk.h"

namespace flurry::sim {

ProfileState Profile::state() const {
  if (!present) return {};
  return {generations.at(*present), present};
}

void Profile::set(const StorePath& path) {
  if (present && generations.at(*present) == path) return;
  const uint64_t next = generations.empty() ? 1 : generations.rbegin()->first + 1;
  generations.emplace(next, path);
  present = next;
}

// A generation that somebody has deleted is made again from its path.
void Profile::restore(std::optional<uint64_t> generation, const std::optional<StorePath>& path) {
  if (!path) {
    present.reset();
    generations.clear();
  } else if (generation && generations.contains(*generation)) {
    present = generation;
  } else {
    set(*path);
  }
}

Written Disk::write(const ActivationRecord& record, TimePoint now, Dice& dice) {
  const bool is_refused = refuses(now);
  if (is_refused && dice.chance(0.7)) return Written::kRefused;
  auto& file = journal.try_emplace(record.spec.deployment, JournalFile{0, record}).first->second;
  ++file.sequence;
  file.record = record;
  return is_refused ? Written::kRefusedYetDurable : Written::kDone;
}

const JournalFile* Disk::find(const DeploymentId& id) const {
  const auto it = journal.find(id);
  return it == journal.end() ? nullptr : &it->second;
}

const JournalFile* Disk::latest_unfinished() const {
  for (auto it = journal.rbegin(); it != journal.rend(); ++it)
    if (it->second.record.phase != Phase::kEnded) return &it->second;
  return nullptr;
}

void Disk::collect_garbage(const std::optional<StorePath>& running, bool delete_old) {
  std::set<StorePath> alive;
  const auto keep = [&](Profile& profile) {
    if (delete_old)
      std::erase_if(profile.generations, [&](const auto& g) { return g.first != profile.present; });
    for (const auto& [number, path] : profile.generations) alive.insert(path);
  };
  keep(system);
  for (auto& [name, profile] : user_profiles) keep(profile);
  for (const auto& [name, path] : roots) alive.insert(path);
  if (running) alive.insert(*running);
  std::erase_if(store, [&](const StorePath& path) { return !alive.contains(path); });
}

}  // namespace flurry::sim
