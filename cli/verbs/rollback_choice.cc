#include "cli/verbs/rollback_choice.h"

#include <algorithm>

#include "core/activation_record.h"
#include "core/outcome.h"
#include "core/profile.h"

namespace flurry {
namespace {

// A generation's link is dated by the file system, whose clock is coarser than the journal's.
constexpr long long kSameTime = 1'000;

// What one deployment did to the profile at hand.
struct Step {
  const PastDeployment* deployment;
  const PastChange* change;
};

bool is_committed(const PastDeployment& deployment) {
  const bool sets = deployment.goal == to_string(Goal::kSwitch) || deployment.goal == to_string(Goal::kBoot);
  return sets && (deployment.outcome == to_string(Outcome::kSucceeded) ||
                  deployment.outcome == to_string(Outcome::kStaged));
}

// The generations of one profile, oldest first, and the deployments that moved it, newest first.
class ProfileStory {
 public:
  ProfileStory(const ProfileRef& profile, const Inspection& inspection,
               const std::vector<PastDeployment>& past)
      : present_(profile_state(inspection.facts.state, profile)) {
    for (const auto& generation : inspection.generations)
      if (generation.profile == (profile.is_system() ? "" : profile.name))
        generations_.push_back(&generation);
    std::sort(generations_.begin(), generations_.end(),
              [](const auto* a, const auto* b) { return a->number < b->number; });
    for (const auto& deployment : past)
      for (const auto& change : deployment.changes)
        if (change.profile == profile.name && change.from_path != change.to_path)
          steps_.push_back({&deployment, &change});
  }

  const GenerationEntry* find(uint64_t number) const {
    for (const auto* generation : generations_)
      if (generation->number == number) return generation;
    return nullptr;
  }

  // Null: there is none.
  const GenerationEntry* before() const {
    const auto* present = present_.generation ? find(*present_.generation) : nullptr;
    if (!present) return nullptr;
    const uint64_t position = origin(*present);
    const GenerationEntry* best = nullptr;
    for (const auto* generation : generations_)
      if (generation->number < position && generation->path != present->path && !was_given_up(*generation))
        best = generation;
    return best;
  }

  std::string known() const {
    std::string out;
    for (const auto* generation : generations_)
      out += (out.empty() ? "" : ", ") + std::to_string(generation->number);
    return "the host has: " + (out.empty() ? "none" : out);
  }

 private:
  static bool made(const Step& step, const GenerationEntry& generation) {
    return step.change->to_path == generation.path.str() &&
           step.deployment->started_unix_ms - kSameTime <= generation.created_unix_ms &&
           generation.created_unix_ms <= step.deployment->ended_unix_ms + kSameTime;
  }

  // The last deployment that made the profile name this generation; null: others did.
  const Step* maker(const GenerationEntry& generation) const {
    for (const auto& step : steps_)
      if (is_committed(*step.deployment) && made(step, generation)) return &step;
    if (generation.number != present_.generation) return nullptr;
    // Nix takes its newest generation again where that names the closure already.
    const auto last = std::find_if(steps_.begin(), steps_.end(),
                                   [](const Step& step) { return is_committed(*step.deployment); });
    const bool is_its = last != steps_.end() && last->change->to_path == generation.path.str() &&
                        generation.created_unix_ms <= last->deployment->ended_unix_ms + kSameTime;
    return is_its ? &*last : nullptr;
  }

  // Its place in the order of releases: a rollback makes a generation that repeats an older one.
  uint64_t origin(const GenerationEntry& generation) const {
    const GenerationEntry* at = &generation;
    for (;;) {
      const Step* step = maker(*at);
      const uint64_t from = step ? step->change->taken_from : 0;
      if (from == 0 || from >= at->number) return at->number;
      const GenerationEntry* next = find(from);
      if (!next) return from;
      at = next;
    }
  }

  // Made by a deployment that did not end well, and by none since that did.
  bool was_given_up(const GenerationEntry& generation) const {
    bool is_made = false;
    for (const auto& step : steps_) {
      if (step.change->to_path != generation.path.str()) continue;
      const bool is_since = step.deployment->ended_unix_ms + kSameTime >= generation.created_unix_ms;
      if (is_committed(*step.deployment) && is_since) return false;
      is_made |= made(step, generation);
    }
    return is_made;
  }

  const ProfileState present_;
  std::vector<const GenerationEntry*> generations_;
  std::vector<Step> steps_;
};

std::string said_of(const ProfileRef& profile, const std::string& words) {
  return (profile.is_system() ? "" : "profile " + profile.name + ": ") + words;
}

Error nothing_there(const std::string& words) { return {ErrorKind::kInvalidInput, words}; }

}  // namespace

Result<RollbackChoice> choose_rollback(const HostConfig& host, const Inspection& inspection,
                                       const std::vector<PastDeployment>& past,
                                       std::optional<unsigned long long> to) {
  const auto profiles = ordered_profiles(host);
  const bool has_system = host.profiles.count(std::string(kSystemProfile)) > 0;
  if (to && !has_system)
    return nothing_there(
        "the host declares no system profile, whose generations --to counts; without --to its profiles go "
        "back");
  RollbackChoice out;
  std::string lacking;
  for (const auto& profile : profiles) {
    if (to && !profile.is_system()) continue;
    const ProfileStory story(profile, inspection, past);
    const GenerationEntry* target = to ? story.find(*to) : story.before();
    if (target) {
      out.profiles.push_back({profile, target->path, target->number});
      out.notes.push_back(said_of(
          profile, "back to " + target->path.str() + ", generation " + std::to_string(target->number)));
      continue;
    }
    const std::string what =
        to ? "there is no generation " + std::to_string(*to) : "there is no generation before this one";
    out.notes.push_back(said_of(profile, "stays: " + what));
    lacking += (lacking.empty() ? "" : "; ") + said_of(profile, what + "; " + story.known());
  }
  if (out.profiles.empty()) return nothing_there(lacking.empty() ? "it declares no profile" : lacking);
  return out;
}

}  // namespace flurry
