#include <algorithm>
#include <atomic>
#include <deque>
#include <fstream>
#include <map>
#include <optional>
#include <random>
#include <thread>

#include "core/spelling.h"
#include "core/sys/bounded_queue.h"
#include "core/sys/clock.h"
#include "eval/nix_command.h"
#include "eval/nix_evaluator.h"

// Many hosts, few processes, one host's error its own: each process is given a chunk of hosts and tells
// by traces on stderr which host it begins and what came out. So results come one by one, and the host
// that a dying process was at is known; a new process takes the hosts behind it.
namespace flurry::eval {
namespace {

// A process keeps what its hosts share; more hosts a process cost memory (an evaluation each).
constexpr size_t kChunkMax = 10;
// A NixOS system takes so much to evaluate, as far as anyone has published.
constexpr size_t kHostMemory = size_t{3} << 30;
constexpr size_t kResultsWaitingMax = 256;

// One profile of one host.
struct Item {
  size_t host;
  size_t profile;  // index into ordered_profiles()
};

struct Paths {
  StorePath drv;
  StorePath out;
};

struct Answer {
  Item item;
  Result<Paths> paths;
};

// Available memory in bytes; a big number when the kernel doesn't tell.
size_t available_memory() {
  std::ifstream file("/proc/meminfo");
  for (std::string word; file >> word;)
    if (size_t kib = 0; word == "MemAvailable:" && file >> kib) return kib << 10;
  return SIZE_MAX / 4;
}

size_t worker_count(const EvalOptions& options, size_t hosts) {
  if (options.workers_max > 0) return std::min(options.workers_max, hosts);
  const size_t by_memory = std::max<size_t>(1, available_memory() / 4 * 3 / kHostMemory);
  return std::min({std::max<size_t>(1, std::thread::hardware_concurrency()), by_memory, hosts});
}

// Nobody's own trace begins like this by accident.
std::string make_marker() {
  std::random_device random;
  return "flurry-" + std::to_string(random()) + std::to_string(random());
}

// "HOST PROFILE": nothing in these names needs escaping, in Nix or between blanks.
std::string expression(const std::string& marker, const char* path, const std::vector<std::string>& names) {
  std::string list;
  for (const auto& name : names) {
    const size_t blank = name.find(' ');
    list += " { h = \"" + name.substr(0, blank) + "\"; n = \"" + name.substr(blank + 1) + "\"; }";
  }
  return "f: builtins.map ({ h, n }: builtins.trace \"" + marker + " begin ${h} ${n}\" (let p = " + path +
         "; s = builtins.unsafeDiscardStringContext; in "
         "if !(builtins.isAttrs p && p ? drvPath && p ? outPath) then throw \"the path of profile ${n} is "
         "not a derivation\" else "
         "builtins.trace \"" +
         marker + " done ${h} ${n} ${s p.drvPath} ${s p.outPath}\" true)) [" + list + " ]";
}

// "DRV OUT"
Result<Paths> parse_paths(std::string_view text) {
  const size_t blank = std::min(text.find(' '), text.size());
  ASSIGN_OR_RETURN(auto drv, StorePath::parse(text.substr(0, blank)));
  ASSIGN_OR_RETURN(auto out, StorePath::parse(text.substr(std::min(blank + 1, text.size()))));
  return Paths{std::move(drv), std::move(out)};
}

// Where in the flake a profile's closure stands.
enum class Source { kNixosConfigurations, kFlurry, kDeployRs, kColmena };

Source source_of(const Fleet& fleet, const ProfileConfig& profile) {
  if (fleet.schema == FleetSchema::kDeployRs) return Source::kDeployRs;
  if (fleet.schema == FleetSchema::kColmena) return Source::kColmena;
  return profile.has_path ? Source::kFlurry : Source::kNixosConfigurations;
}

// The flake's output `f`, and the closure of host `h`, profile `n` in it.
struct Place {
  const char* output;
  const char* path;
};

Place place_in_flake(Source source) {
  switch (source) {
    case Source::kNixosConfigurations:
      return {"nixosConfigurations", "f.${h}.config.system.build.toplevel"};
    case Source::kFlurry:
      return {"flurry", "(f.hosts.${h}.profiles.${n}.path or f.defaults.profiles.${n}.path)"};
    case Source::kDeployRs:
      return {"deploy", "f.nodes.${h}.profiles.${n}.path"};
    case Source::kColmena:
      return {"colmenaHive", "f.toplevel.${h}"};
  }
  return {"", ""};
}

// What one process evaluates, all from one place. A host's items stand together.
struct Chunk {
  Source source;
  std::vector<Item> items;
};

// One worker's way through chunks.
class Worker {
 public:
  Worker(const Fleet& fleet, const EvalOptions& options, sys::BoundedQueue<Answer>& answers,
         TimePoint deadline, std::stop_token stop)
      : fleet_(fleet), options_(options), answers_(answers), deadline_(deadline), stop_(std::move(stop)) {}

  void evaluate(const Chunk& chunk) {
    rest_.assign(chunk.items.begin(), chunk.items.end());
    while (!rest_.empty()) run_process(place_in_flake(chunk.source));
  }

 private:
  // Takes at least one item off rest_.
  void run_process(const Place& place) {
    const std::string marker = make_marker();
    std::vector<std::string> names;
    for (const Item& item : rest_) names.push_back(name_of(item));
    begun_ = false;
    const auto output = run_nix(
        options_,
        {"eval", "--json", fleet_.eval_ref + "#" + place.output, "--apply",
         expression(marker, place.path, names)},
        [&](std::string_view line) { take_line(line, "trace: " + marker + " "); }, deadline_, stop_);
    if (rest_.empty()) return;
    if (output) return answer_all({ErrorKind::kFailed, "evaluation: nix ended without an answer"});
    const bool one_host = begun_ && output.error().kind == ErrorKind::kFailed;
    const Error error = explain(output.error());
    if (!one_host) return answer_all(error);
    answer(error);
  }

  // Newer Nix reads a locked directory again and finds that it isn't what was locked.
  static Error explain(const Error& error) {
    const bool changed = error.message.find("NAR hash mismatch in input") != std::string::npos;
    return error.with_context(changed ? "evaluation: the flake's files changed since it was read, start again"
                                      : "evaluation");
  }

  void take_line(std::string_view line, std::string_view prefix) {
    const size_t at = line.find(prefix);
    if (at == std::string_view::npos || rest_.empty()) return;
    line.remove_prefix(at + prefix.size());
    const std::string name = name_of(rest_.front());
    if (line == "begin " + name) begun_ = true;
    const std::string done = "done " + name + " ";
    if (!line.starts_with(done)) return;
    auto paths = parse_paths(line.substr(done.size()));
    begun_ = false;
    answer(paths ? std::move(paths) : paths.error().with_context("evaluation: unexpected answer"));
  }

  // A host has failed with the first of its items: the others are nobody's.
  void answer(Result<Paths> paths) {
    const Item item = rest_.front();
    rest_.pop_front();
    while (!paths && !rest_.empty() && rest_.front().host == item.host) rest_.pop_front();
    answers_.push({item, std::move(paths)});
  }

  void answer_all(const Error& error) {
    while (!rest_.empty()) answer(error);
  }

  std::string name_of(const Item& item) const {
    const HostConfig& host = fleet_.hosts[item.host];
    return host.name.str() + " " + ordered_profiles(host)[item.profile].name;
  }

  const Fleet& fleet_;
  const EvalOptions& options_;
  sys::BoundedQueue<Answer>& answers_;
  const TimePoint deadline_;
  const std::stop_token stop_;
  std::deque<Item> rest_;  // in the order in which Nix evaluates them
  bool begun_ = false;     // the first of rest_ is being evaluated
};

std::vector<Chunk> make_chunks(const Fleet& fleet, const std::vector<size_t>& hosts, size_t workers) {
  const size_t size = std::clamp<size_t>((hosts.size() + workers - 1) / workers, 1, kChunkMax);
  std::vector<Chunk> chunks;
  for (const Source source :
       {Source::kNixosConfigurations, Source::kFlurry, Source::kDeployRs, Source::kColmena}) {
    size_t room = 0;  // hosts that the last chunk can still take
    for (const size_t host : hosts) {
      const auto profiles = ordered_profiles(fleet.hosts[host]);
      std::vector<Item> items;
      for (size_t i = 0; i < profiles.size(); ++i)
        if (source_of(fleet, fleet.hosts[host].profiles.at(profiles[i].name)) == source)
          items.push_back({host, i});
      if (items.empty()) continue;
      if (room == 0) chunks.push_back({source, {}});
      room = (room == 0 ? size : room) - 1;
      chunks.back().items.insert(chunks.back().items.end(), items.begin(), items.end());
    }
  }
  return chunks;
}

// Puts the answers about one host together.
class Collected {
 public:
  explicit Collected(const HostConfig& host) : profiles_(ordered_profiles(host)), found_(profiles_.size()) {}

  // The host's result, once: with its last profile, or with its first error.
  std::optional<Result<HostDerivations>> take(Answer& answer) {
    if (is_told_) return std::nullopt;
    is_told_ = !answer.paths || ++count_ == profiles_.size();
    if (!answer.paths) return about(answer.item.profile, answer.paths.error());
    found_[answer.item.profile] = *std::move(answer.paths);
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
  std::vector<std::optional<Paths>> found_;
  size_t count_ = 0;
  bool is_told_ = false;
};

}  // namespace

void NixEvaluator::evaluate(const Fleet& fleet, const std::vector<size_t>& hosts, const OnHost& on_host,
                            TimePoint deadline, std::stop_token stop) {
  if (hosts.empty()) return;
  std::map<size_t, Collected> collected;
  for (const size_t host : hosts) collected.emplace(host, fleet.hosts[host]);
  const size_t workers = worker_count(options_, hosts.size());
  const auto chunks = make_chunks(fleet, hosts, workers);
  sys::BoundedQueue<Answer> answers(kResultsWaitingMax);
  std::atomic<size_t> next_chunk = 0;
  std::vector<std::jthread> threads;
  for (size_t i = 0; i < workers; ++i)
    threads.emplace_back([&] {
      Worker worker(fleet, options_, answers, deadline, stop);
      for (size_t c = next_chunk++; c < chunks.size(); c = next_chunk++) worker.evaluate(chunks[c]);
    });
  for (size_t answered = 0; answered < hosts.size();)
    for (auto& answer : answers.pop_all(std::nullopt)) {
      auto result = collected.at(answer.item.host).take(answer);
      if (!result) continue;
      on_host(answer.item.host, std::move(*result));
      ++answered;
    }
}

}  // namespace flurry::eval
