#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "core/sys/clock.h"
#include "eval/eval_cache.h"
#include "eval/evaluation.h"
#include "eval/nix_evaluator.h"

// What the hosts' profiles are evaluated to.
namespace flurry::eval {
namespace {

constexpr Millis kStoreTimeout{10'000};

// Puts the answers about one host together.
class Collected {
 public:
  explicit Collected(const HostConfig& host) : profiles_(ordered_profiles(host)), found_(profiles_.size()) {}

  // The host's result, once: with its last profile, or with its first error.
  std::optional<Result<HostDerivations>> take(const std::string& name, Result<DerivationPaths> paths) {
    const size_t profile = index_of(name);
    // A process may have been just past what another one was given.
    if (is_told_ || (paths && found_[profile])) return std::nullopt;
    is_told_ = !paths || ++count_ == profiles_.size();
    if (!paths) return about(profile, paths.error());
    found_[profile] = *std::move(paths);
    if (!is_told_) return std::nullopt;
    HostDerivations out;
    for (size_t i = 0; i < profiles_.size(); ++i)
      out.profiles.push_back({profiles_[i], found_[i]->drv, found_[i]->out});
    return out;
  }

 private:
  size_t index_of(const std::string& name) const {
    const auto it = std::find_if(profiles_.begin(), profiles_.end(),
                                 [&name](const ProfileRef& profile) { return profile.name == name; });
    return static_cast<size_t>(it - profiles_.begin());
  }

  Error about(size_t profile, const Error& error) const {
    return profiles_[profile].is_system() ? error : error.with_context("profile " + profiles_[profile].name);
  }

  std::vector<ProfileRef> profiles_;
  std::vector<std::optional<DerivationPaths>> found_;
  size_t count_ = 0;
  bool is_told_ = false;
};

// What was evaluated before, and is still worth something.
class Known {
 public:
  Known(const Fleet& fleet, const EvalOptions& options, nix::Daemon* store, TimePoint deadline,
        std::stop_token stop)
      : fleet_(fleet), store_(store) {
    if (store_ != nullptr) cache_ = EvalCache::open(fleet, options, deadline, std::move(stop));
  }
  ~Known() { cache_.save(); }
  Known(const Known&) = delete;
  Known& operator=(const Known&) = delete;

  // The hosts of which everything is known, and it is all in the store, where nothing can take it from now
  // on.
  std::map<size_t, HostDerivations> find(const std::vector<size_t>& hosts) {
    std::map<size_t, HostDerivations> found;
    if (!cache_.is_on()) return found;
    std::vector<StorePath> drvs;
    for (const size_t host : hosts) {
      const HostConfig& config = fleet_.hosts[host];
      HostDerivations derivations;
      const auto profiles = ordered_profiles(config);
      for (const auto& profile : profiles)
        if (auto paths = cache_.find(config.name, profile.name)) {
          drvs.push_back(paths->drv);
          derivations.profiles.push_back({profile, std::move(paths->drv), std::move(paths->out)});
        }
      if (derivations.profiles.size() == profiles.size()) found.emplace(host, std::move(derivations));
    }
    const auto valid = hold(drvs);
    std::erase_if(found, [&valid](const auto& entry) {
      const auto& profiles = entry.second.profiles;
      return std::any_of(profiles.begin(), profiles.end(),
                         [&valid](const auto& profile) { return !valid.contains(profile.drv); });
    });
    return found;
  }

  // Holds what was just evaluated, before the process that holds it now has ended.
  void add(size_t host, const std::string& profile, const DerivationPaths& paths) {
    hold({paths.drv});
    cache_.add(fleet_.hosts[host].name, profile, paths);
  }

 private:
  std::set<StorePath> hold(const std::vector<StorePath>& drvs) {
    if (store_ == nullptr || drvs.empty()) return {};
    const TimePoint deadline = sys::now() + kStoreTimeout;
    if (!store_->add_temp_roots(drvs, deadline)) return {};
    const auto valid = store_->query_valid_paths(drvs, deadline);
    return valid ? std::set<StorePath>(valid->begin(), valid->end()) : std::set<StorePath>();
  }

  const Fleet& fleet_;
  nix::Daemon* const store_;
  EvalCache cache_;
};

}  // namespace

void NixEvaluator::evaluate(const Fleet& fleet, const std::vector<size_t>& hosts, const OnHost& on_host,
                            TimePoint deadline, std::stop_token stop) {
  std::vector<size_t> sound;
  for (const size_t host : hosts)
    if (fleet.hosts[host].error)
      on_host(host, *fleet.hosts[host].error);
    else
      sound.push_back(host);
  if (sound.empty()) return;
  if (!store_)
    if (auto store = nix::Daemon::connect(std::min(deadline, sys::now() + kStoreTimeout)))
      store_ = std::move(*store);
  Known known(fleet, options_, store_ ? &*store_ : nullptr, deadline, stop);
  const auto found = known.find(sound);
  std::map<size_t, Collected> others;
  std::vector<size_t> to_evaluate;
  for (const size_t host : sound)
    if (const auto it = found.find(host); it == found.end()) {
      others.emplace(host, fleet.hosts[host]);
      to_evaluate.push_back(host);
    } else {
      on_host(host, it->second);
    }
  const auto on_answer = [&](const EvalTask& task, size_t question, Result<std::string> text) {
    const std::string& profile = task.questions[question];
    Result<DerivationPaths> paths = text ? parse_paths(*text) : text.error();
    if (text && !paths)
      paths = Error{ErrorKind::kFailed, "evaluation: unexpected answer: " + paths.error().message};
    if (paths) known.add(task.host, profile, *paths);
    if (auto result = others.at(task.host).take(profile, std::move(paths)))
      on_host(task.host, *std::move(result));
  };
  const EvalTasks tasks = make_tasks(fleet, to_evaluate);
  Evaluation(fleet.eval_ref, options_, tasks, {workers_of(options_)}, on_answer, deadline, std::move(stop))
      .run();
}

}  // namespace flurry::eval
