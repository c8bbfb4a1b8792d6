#include <algorithm>
#include <list>
#include <map>
#include <optional>
#include <set>
#include <thread>
#include <variant>

#include "core/sys/bounded_queue.h"
#include "core/sys/clock.h"
#include "core/sys/memory.h"
#include "eval/eval_cache.h"
#include "eval/eval_process.h"
#include "eval/eval_schedule.h"
#include "eval/nix_evaluator.h"

// Many hosts, few processes, one host's error its own. The schedule decides which process takes which hosts;
// each process has a thread that follows it; what they find comes together here.
namespace flurry::eval {
namespace {

constexpr size_t kNewsWaitingMax = 256;
constexpr Millis kStoreTimeout{10'000};

struct News {
  size_t job;
  std::variant<EvalProcess::Answer, EvalSchedule::End> what;
};

// Puts the answers about one host together.
class Collected {
 public:
  explicit Collected(const HostConfig& host) : profiles_(ordered_profiles(host)), found_(profiles_.size()) {}

  // The host's result, once: with its last profile, or with its first error.
  std::optional<Result<HostDerivations>> take(size_t profile, Result<DerivationPaths> paths) {
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
  Error about(size_t profile, const Error& error) const {
    return profiles_[profile].is_system() ? error : error.with_context("profile " + profiles_[profile].name);
  }

  std::vector<ProfileRef> profiles_;
  std::vector<std::optional<DerivationPaths>> found_;
  size_t count_ = 0;
  bool is_told_ = false;
};

std::string in_gib(size_t bytes) {
  const size_t tenths = (bytes * 10 + (size_t{1} << 29)) >> 30;
  return std::to_string(tenths / 10) + "." + std::to_string(tenths % 10) + " GiB";
}

size_t memory_budget(const EvalOptions& options) {
  return options.memory > 0 ? options.memory : sys::available_memory() / 4 * 3;
}

size_t workers_of(const EvalOptions& options) {
  return options.workers_max > 0 ? options.workers_max : std::max(1u, std::thread::hardware_concurrency());
}

std::vector<size_t> groups_of(const std::vector<EvalTask>& tasks) {
  std::vector<size_t> groups;
  for (const auto& task : tasks) groups.push_back(static_cast<size_t>(task.source));
  return groups;
}

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

// The loop between the schedule and its processes.
class Evaluation {
 public:
  Evaluation(const Fleet& fleet, const EvalOptions& options, const std::vector<size_t>& hosts, Known& known,
             const Evaluator::OnHost& on_host, TimePoint deadline, std::stop_token stop)
      : fleet_(fleet),
        options_(options),
        known_(known),
        on_host_(on_host),
        deadline_(deadline),
        stop_(std::move(stop)),
        tasks_(make_tasks(fleet, hosts)),
        budget_(memory_budget(options)),
        schedule_(groups_of(tasks_), {workers_of(options), budget_}),
        news_(kNewsWaitingMax) {
    for (const size_t host : hosts) collected_.emplace(host, fleet.hosts[host]);
  }

  void run() {
    while (!schedule_.is_finished()) {
      while (start_next()) continue;
      for (auto& news : news_.pop_all(std::nullopt)) take(std::move(news));
    }
  }

 private:
  struct Running {
    size_t id;
    std::vector<size_t> tasks;      // indexes into tasks_
    std::vector<EvalTask> details;  // the process refers to them
    std::optional<EvalProcess> process;
    std::jthread thread;
  };

  bool start_next() {
    const auto step = schedule_.next();
    if (step.cut) find(step.cut->job)->process->keep(step.cut->keep);
    if (!step.start) return false;
    Running& running = running_.emplace_back();
    running.id = step.start->id;
    running.tasks = step.start->tasks;
    for (const size_t task : running.tasks) running.details.push_back(tasks_[task]);
    const auto on_answer = [this, id = running.id](EvalProcess::Answer answer) {
      news_.push({id, std::move(answer)});
    };
    running.process.emplace(fleet_, options_, running.details, step.start->memory, on_answer);
    running.thread = std::jthread([this, &running] {
      news_.push({running.id, running.process->run(deadline_, stop_)});
    });
    return true;
  }

  void take(News news) {
    const auto job = find(news.job);
    if (auto* answer = std::get_if<EvalProcess::Answer>(&news.what)) {
      if (answer->is_last) schedule_.answered(news.job);
      const size_t host = job->details[answer->task].host;
      if (answer->paths)
        known_.add(host, ordered_profiles(fleet_.hosts[host])[answer->profile].name, *answer->paths);
      tell(job->details[answer->task].host, answer->profile, std::move(answer->paths));
      return;
    }
    running_.erase(job);
    if (const auto task = schedule_.ended(news.job, std::get<EvalSchedule::End>(news.what)))
      tell(tasks_[*task].host, tasks_[*task].profiles.front(), too_large());
  }

  void tell(size_t host, size_t profile, Result<DerivationPaths> paths) {
    if (auto result = collected_.at(host).take(profile, std::move(paths))) on_host_(host, std::move(*result));
  }

  Error too_large() const {
    return {ErrorKind::kFailed, "evaluation: this host alone needs more than the " + in_gib(budget_) +
                                    " of memory that evaluation may take: give more by --eval-memory, or "
                                    "evaluate where there is more"};
  }

  std::list<Running>::iterator find(size_t job) {
    return std::find_if(running_.begin(), running_.end(), [job](const auto& r) { return r.id == job; });
  }

  const Fleet& fleet_;
  const EvalOptions& options_;
  Known& known_;
  const Evaluator::OnHost& on_host_;
  const TimePoint deadline_;
  const std::stop_token stop_;
  const std::vector<EvalTask> tasks_;
  const size_t budget_;
  EvalSchedule schedule_;
  std::map<size_t, Collected> collected_;
  sys::BoundedQueue<News> news_;
  std::list<Running> running_;  // its threads push to the queue above
};

}  // namespace

void NixEvaluator::evaluate(const Fleet& fleet, const std::vector<size_t>& hosts, const OnHost& on_host,
                            TimePoint deadline, std::stop_token stop) {
  if (hosts.empty()) return;
  if (!store_)
    if (auto store = nix::Daemon::connect(std::min(deadline, sys::now() + kStoreTimeout)))
      store_ = std::move(*store);
  Known known(fleet, options_, store_ ? &*store_ : nullptr, deadline, stop);
  const auto found = known.find(hosts);
  std::vector<size_t> others;
  for (const size_t host : hosts)
    if (const auto it = found.find(host); it == found.end())
      others.push_back(host);
    else
      on_host(host, it->second);
  if (!others.empty()) Evaluation(fleet, options_, others, known, on_host, deadline, std::move(stop)).run();
}

}  // namespace flurry::eval
