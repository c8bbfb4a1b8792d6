#include "eval/builds.h"

#include <algorithm>
#include <charconv>
#include <list>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <system_error>
#include <thread>
#include <variant>

#include "core/nix/closure.h"
#include "core/nix/daemon.h"
#include "core/sys/bounded_queue.h"
#include "core/sys/clock.h"
#include "core/sys/subprocess.h"
#include "eval/build_log.h"
#include "eval/build_schedule.h"
#include "eval/json_reader.h"
#include "eval/nix_command.h"

namespace flurry::eval {
namespace {

constexpr size_t kNewsWaitingMax = 1024;
constexpr Millis kBuildTimeout{24 * 3600'000};
constexpr Millis kQueryTimeout{60'000};
constexpr Millis kSettingsTimeout{10'000};
// How many new connections to the store one question may take: the first may be lost too.
constexpr int kStoreConnectionsMax = 2;
// How long an output may be there before its host hears of it.
constexpr Millis kLookInterval{250};

struct Request {
  size_t id;
  std::vector<ProfileDerivation> derivations;
};
struct Line {
  size_t program;
  std::string text;
};
struct Failed {
  BuildFailure failure;
  std::set<std::string> dependents;  // derivations that need it, and itself
};
struct Ended {
  size_t program;
  Error why;  // for what it has not built
};
struct Leave {};
using News = std::variant<Request, Line, Failed, Ended, Leave>;

// All derivations in the store that can't be built without this one.
std::set<std::string> dependents_of(const EvalOptions& options, const std::string& drv) {
  const auto found = sys::run_checked(
      {.argv = {"nix-store", "--query", "--referrers-closure", drv}, .environment = nix_environment(options)},
      sys::now() + kQueryTimeout);
  std::set<std::string> out{drv};
  for (size_t at = 0; found && at < found->size();) {
    const size_t end = std::min(found->find('\n', at), found->size());
    out.insert(found->substr(at, end - at));
    at = end + 1;
  }
  return out;
}

size_t jobs_of_settings(const EvalOptions& options) {
  const size_t cores = std::max(1u, std::thread::hardware_concurrency());
  const auto settings = nix_settings_json(options, sys::now() + kSettingsTimeout, {});
  const auto root = parse_json(settings ? *settings : "", "nix show-config");
  if (!root || !root->is_object() || !root->contains("max-jobs")) return cores;
  const Json& setting = root->at("max-jobs");
  if (!setting.is_object() || !setting.contains("value")) return cores;
  const Json& value = setting.at("value");
  return jobs_of(value.is_string() ? value.get<std::string>() : value.dump(), cores);
}

}  // namespace

size_t jobs_of(std::string_view max_jobs, size_t cores) {
  size_t jobs = 0;
  const auto [end, error] = std::from_chars(max_jobs.data(), max_jobs.data() + max_jobs.size(), jobs);
  const bool is_number = error == std::errc() && end == max_jobs.data() + max_jobs.size();
  return is_number ? jobs : std::max<size_t>(1, cores);  // "auto"
}

class Builds::Loop {
 public:
  Loop(const EvalOptions& options, size_t expected, Hooks hooks)
      : options_(options), expected_(expected), hooks_(std::move(hooks)), news_(kNewsWaitingMax) {
    thread_ = std::jthread([this] { run(); });
  }

  ~Loop() {
    news_.push(Leave{});
    thread_.join();
  }

  void push(Request request) { news_.push(std::move(request)); }

 private:
  struct Waiting {
    std::vector<ProfileDerivation> derivations;
    std::optional<size_t> program;
  };
  struct Running {
    size_t id;
    std::jthread thread;
  };

  void run() {
    while (!is_leaving_) {
      const bool has_programs = !programs_.empty();
      for (auto& news :
           news_.pop_all(has_programs ? std::optional(sys::now() + kLookInterval) : std::nullopt))
        take(std::move(news));
      if (is_leaving_) break;
      look();
      start_programs();
    }
    for (auto& program : programs_) program.thread.request_stop();
    // Their last words find no room otherwise.
    news_.close();
    programs_.clear();
    while (!waiting_.empty())
      answer(waiting_.begin()->first, Error{ErrorKind::kCancelled, "build: stopped by the user"});
  }

  void take(News news) {
    if (auto* request = std::get_if<Request>(&news)) take_request(std::move(*request));
    if (const auto* line = std::get_if<Line>(&news)) take_line(*line);
    if (const auto* failed = std::get_if<Failed>(&news)) take_failure(*failed);
    if (const auto* ended = std::get_if<Ended>(&news)) take_end(*ended);
    if (std::holds_alternative<Leave>(news)) is_leaving_ = true;
  }

  void take_request(Request request) {
    ++requested_;
    if (const auto held = hold(request); !held) return hooks_.on_built(request.id, store_error(held.error()));
    waiting_[request.id].derivations = std::move(request.derivations);
    is_new_ = true;
    fresh_.push_back(request.id);
  }

  static Error store_error(const Error& error) { return error.with_context("build: the local Nix store"); }

  // What is asked for can't be collected, whether it is there already or not.
  Result<void> hold(const Request& request) {
    std::vector<StorePath> paths;
    for (const auto& derivation : request.derivations) {
      paths.push_back(derivation.drv);
      paths.push_back(derivation.out);
    }
    held_.insert(held_.end(), paths.begin(), paths.end());
    return ask([&paths](nix::Daemon& store) { return store.add_temp_roots(paths, query_deadline()); });
  }

  static TimePoint query_deadline() { return sys::now() + kQueryTimeout; }

  // Asks the store, over a new connection where the one that was there is gone; that holds all of it again.
  template <typename Question>
  auto ask(const Question& question) -> decltype(question(std::declval<nix::Daemon&>())) {
    for (int connections = store_ ? 0 : 1;; ++connections) {
      auto answer = ask_once(question);
      if (answer) return answer;
      store_.reset();
      if (connections == kStoreConnectionsMax) return answer;
    }
  }

  template <typename Question>
  auto ask_once(const Question& question) -> decltype(question(std::declval<nix::Daemon&>())) {
    if (!store_) {
      ASSIGN_OR_RETURN(auto store, nix::Daemon::connect(query_deadline()));
      RETURN_IF_ERROR(store.add_temp_roots(held_, query_deadline()));
      store_ = std::move(store);
    }
    return question(*store_);
  }

  // Answers those whose outputs are all there.
  void look() {
    const TimePoint now = sys::now();
    if (waiting_.empty() || (!is_new_ && now < looked_at_ + kLookInterval)) return;
    looked_at_ = now;
    is_new_ = false;
    const auto valid = valid_outputs();
    store_failure_ = valid ? std::nullopt : std::optional(store_error(valid.error()));
    if (!valid) return;
    std::vector<size_t> done;
    for (const auto& [id, request] : waiting_)
      if (std::all_of(request.derivations.begin(), request.derivations.end(),
                      [&](const auto& derivation) { return valid->contains(derivation.out); }))
        done.push_back(id);
    for (const size_t id : done) answer(id, {});
    for (const size_t id : std::exchange(fresh_, {})) begin(id);
  }

  // What has failed for another host is not built again.
  void begin(size_t id) {
    const auto it = waiting_.find(id);
    if (it == waiting_.end()) return;
    if (auto why = failure_of(it->second)) return answer(id, std::move(*why));
    schedule().add(id);
  }

  Result<std::set<StorePath>> valid_outputs() {
    std::vector<StorePath> paths;
    for (const auto& [id, request] : waiting_)
      for (const auto& derivation : request.derivations) paths.push_back(derivation.out);
    ASSIGN_OR_RETURN(const auto valid, ask([&paths](nix::Daemon& store) {
                       return store.query_valid_paths(paths, query_deadline());
                     }));
    return std::set<StorePath>(valid.begin(), valid.end());
  }

  // The failure of a derivation that this request can't do without: it is among those that would have to be
  // built for it.
  std::optional<Error> failure_of(const Waiting& request) {
    if (failures_.empty()) return std::nullopt;
    for (const auto& derivation : request.derivations) {
      if (const auto own = failures_.find(derivation.drv.str()); own != failures_.end())
        return Error{ErrorKind::kFailed, own->second.describe(true)};
      if (!has_failed_below(derivation.drv)) continue;
      // This may ask substituters, so it is only done for those that are in doubt.
      const std::vector<std::string> target{derivation.drv.str() + "!*"};
      const auto missing =
          ask([&target](nix::Daemon& store) { return store.query_missing(target, query_deadline()); });
      if (!missing) continue;
      for (const auto& drv : missing->to_build)
        if (const auto it = failures_.find(drv.str()); it != failures_.end())
          return Error{ErrorKind::kFailed, it->second.describe(false)};
    }
    return std::nullopt;
  }

  bool has_failed_below(const StorePath& drv) {
    const auto closure =
        ask([&drv](nix::Daemon& store) { return nix::query_closure(store, drv, query_deadline()); });
    return closure && std::any_of(closure->begin(), closure->end(), [this](const nix::PathInfo& info) {
             return failures_.contains(info.path.str());
           });
  }

  // Asked for when the first thing has to be built.
  BuildSchedule& schedule() {
    if (!schedule_) schedule_.emplace(jobs_of_settings(options_));
    return *schedule_;
  }

  void start_programs() {
    while (schedule_) {
      const auto program = schedule_->next(requested_ < expected_);
      if (!program) return;
      sys::Command command = command_for(*program);
      if (waiting_for(program->id) == 0) {  // all were answered meanwhile
        schedule_->ended(program->id);
        continue;
      }
      programs_.push_back({program->id, {}});
      programs_.back().thread =
          std::jthread([this, id = program->id, command = std::move(command)](std::stop_token stop) mutable {
            command.stop = std::move(stop);
            news_.push(Ended{id, follow(id, std::move(command))});
          });
    }
  }

  size_t waiting_for(size_t program) const {
    return static_cast<size_t>(std::count_if(waiting_.begin(), waiting_.end(), [&](const auto& entry) {
      return entry.second.program == program;
    }));
  }

  sys::Command command_for(const BuildSchedule::Program& program) {
    sys::Command command;
    command.argv = {"nix-store", "--realise", "--keep-going", "--log-format", "internal-json"};
    std::set<std::string> drvs;
    for (const size_t id : program.requests) {
      const auto request = waiting_.find(id);
      if (request == waiting_.end()) continue;
      request->second.program = program.id;
      for (const auto& derivation : request->second.derivations) drvs.insert(derivation.drv.str());
    }
    command.argv.insert(command.argv.end(), drvs.begin(), drvs.end());
    for (auto& word : nix_settings(options_)) command.argv.push_back(std::move(word));
    command.argv.insert(command.argv.end(), {"--option", "max-jobs", std::to_string(program.jobs)});
    command.environment = nix_environment(options_);
    return command;
  }

  // On the program's thread: until it has ended; what to say of what it has not built.
  Error follow(size_t id, sys::Command command) {
    BuildLog log(
        [&](std::string_view line) {
          news_.push(Line{id, std::string(line)});
        },
        [&](BuildFailure failure) {
          auto dependents = dependents_of(options_, failure.drv);
          news_.push(Failed{std::move(failure), std::move(dependents)});
        });
    command.on_stderr_line = [&log](std::string_view line) { log.take_line(line); };
    const auto result = sys::run(command, sys::now() + kBuildTimeout);
    if (!result) return result.error().with_context("build");
    if (result->signal != 0)
      return {ErrorKind::kFailed, "build: nix-store ended by " + sys::describe_exit(*result)};
    if (result->exit_code == 0)
      return {ErrorKind::kFailed, "build: nix-store says that all is built, and the store lacks it"};
    return {ErrorKind::kFailed,
            log.last_error().empty() ? "build failed without a message" : "build: " + log.last_error()};
  }

  void take_line(const Line& line) {
    const auto first = std::find_if(waiting_.begin(), waiting_.end(),
                                    [&](const auto& entry) { return entry.second.program == line.program; });
    if (first != waiting_.end()) hooks_.on_line(first->first, line.text);
  }

  void take_failure(const Failed& failed) {
    failures_.insert_or_assign(failed.failure.drv, failed.failure);
    std::vector<std::pair<size_t, Error>> answers;
    for (const auto& [id, request] : waiting_) {
      const bool may_need_it = std::any_of(
          request.derivations.begin(), request.derivations.end(),
          [&](const auto& derivation) { return failed.dependents.contains(derivation.drv.str()); });
      if (!may_need_it) continue;
      if (auto why = failure_of(request)) answers.emplace_back(id, std::move(*why));
    }
    for (auto& [id, why] : answers) answer(id, std::move(why));
  }

  void take_end(const Ended& ended) {
    std::erase_if(programs_, [&](const Running& program) { return program.id == ended.program; });
    schedule_->ended(ended.program);
    is_new_ = true;
    look();
    std::vector<size_t> rest;
    for (const auto& [id, request] : waiting_)
      if (request.program == ended.program) rest.push_back(id);
    for (const size_t id : rest) {
      auto why = failure_of(waiting_.at(id));
      answer(id, why ? std::move(*why) : store_failure_.value_or(ended.why));
    }
  }

  void answer(size_t id, Result<void> built) {
    const auto it = waiting_.find(id);
    const auto program = it->second.program;
    const bool is_built = built.has_value();
    waiting_.erase(it);
    hooks_.on_built(id, std::move(built));
    if (is_built || !program || waiting_for(*program) > 0) return;
    // Nobody needs the rest. After a success there is no rest, but for a hook of the user's that may still
    // run.
    for (auto& running : programs_)
      if (running.id == *program) running.thread.request_stop();
  }

  const EvalOptions options_;
  const size_t expected_;
  const Hooks hooks_;
  sys::BoundedQueue<News> news_;
  std::optional<nix::Daemon> store_;
  std::vector<StorePath> held_;
  std::optional<Error> store_failure_;  // why the last look saw nothing
  std::optional<BuildSchedule> schedule_;
  std::map<std::string, BuildFailure> failures_;  // by derivation
  std::map<size_t, Waiting> waiting_;             // by request: not answered yet
  std::vector<size_t> fresh_;                     // of those, not yet looked at
  std::list<Running> programs_;
  size_t requested_ = 0;
  bool is_new_ = false;
  bool is_leaving_ = false;
  TimePoint looked_at_{};
  std::jthread thread_;
};

Builds::Builds(const EvalOptions& options, size_t expected, Hooks hooks)
    : loop_(std::make_unique<Loop>(options, expected, std::move(hooks))) {}
Builds::~Builds() = default;

void Builds::request(size_t request, std::vector<ProfileDerivation> derivations) {
  loop_->push({request, std::move(derivations)});
}

}  // namespace flurry::eval
