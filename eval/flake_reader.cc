#include "eval/flake_reader.h"

#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>
#include <thread>

#include "core/spelling.h"
#include "eval/evaluation.h"
#include "eval/flake_hint.h"
#include "eval/json_reader.h"
#include "eval/nix_command.h"
#include "eval/unknown_options.h"

namespace flurry::eval {
namespace {

// No flake has packages for it.
constexpr const char* kNoSystem = "none";
constexpr const char* kSettings = "settings";
constexpr const char* kTags = "tags";
// The arguments of one program hold the names of so many hosts, whatever they are called.
constexpr size_t kLightChunk = 300;
constexpr size_t kLightNeed = size_t{128} << 20;
// The modules of a NixOS system, as far as its options of another tool need them.
constexpr size_t kHeavyNeed = size_t{512} << 20;

bool is_missing(const Error& error) {
  return error.kind == ErrorKind::kFailed &&
         error.message.find("does not provide attribute") != std::string::npos;
}

// The answer of probe() about something else of that name. Newer versions of Nix end it with a new line.
bool is_other_thing(std::string_view answer) { return answer.substr(0, 3) == "\"?\""; }

// What the flake's own lock file doesn't name may be another by the time that it is evaluated.
bool has_locked_inputs(const Json& root, const Json& locked) {
  const Json locks = root.value("locks", Json::object());
  const Json nodes = locks.value("nodes", Json::object());
  if (!nodes.is_object() || nodes.empty()) return false;
  if (nodes.size() == 1) return true;  // the flake itself
  std::ifstream file(root.value("path", std::string()) + "/" + locked.value("dir", std::string()) +
                     "/flake.lock");
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto written = parse_json(text, "flake.lock");
  return written && *written == locks;
}

// Those whose names can be a host's.
Fleet fleet_of_names(const Json& hosts) {
  Fleet fleet;
  for (auto it = hosts.begin(); it != hosts.end(); ++it)
    if (auto name = host_name(it.key(), "", fleet)) fleet.hosts.push_back({.name = *std::move(name)});
  return fleet;
}

}  // namespace

Result<void> FlakeReader::lock(const std::string& flake_ref) {
  source_.flake_ref = flake_ref;
  if (!options_.nix_options.empty())
    if (const auto settings = nix_settings_json({.environment = options_.environment}, deadline_, stop_))
      RETURN_IF_ERROR(check_settings(options_, *settings));
  const std::string context = "flake " + quote(flake_ref);
  const auto output =
      run_nix_program(options_, {"flake", "metadata", "--json", flake_ref}, {}, deadline_, stop_);
  if (!output) return explained(output.error()).with_context(context);
  if (output->exit_code != 0) return explained(nix_failure(options_, *output)).with_context(context);
  RETURN_IF_ERROR(check_overrides(options_, output->standard_error));
  ASSIGN_OR_RETURN(const Json root, parse_json(output->standard_output, "nix flake metadata"));
  try {
    read_metadata(root);
  } catch (const Json::exception& e) {
    return Error{ErrorKind::kFailed, std::string("nix flake metadata: unexpected answer: ") + e.what()};
  }
  return {};
}

void FlakeReader::read_metadata(const Json& root) {
  const Json locked = root.value("locked", Json::object());
  source_.revision = root.value("revision", root.value("dirtyRevision", std::string()));
  const bool is_git = locked.value("type", std::string()) == "git";
  const bool dirty = is_git && !root.contains("revision");
  if (dirty && source_.revision.empty()) source_.revision = "dirty";
  // The locked flake can't change under a long deployment. A changed work tree has no lock, and Nix
  // 2.8 forgets "submodules" when it writes the URL.
  const bool lossy = locked.contains("submodules") || locked.contains("lfs");
  source_.eval_ref = source_.flake_ref;
  if (dirty || lossy || !locked.contains("narHash")) return;
  source_.eval_ref = root.value("url", source_.flake_ref);
  if (has_locked_inputs(root, locked)) source_.lock = locked.dump() + "\n" + root["locks"].dump();
}

Error FlakeReader::explained(Error error) const {
  if (error.kind == ErrorKind::kFailed) error.message += flake_hint(source_.flake_ref, error.message);
  return error;
}

Result<Probe> FlakeReader::probe_with(const EvalOptions& options, const std::string& output,
                                      const std::string& expression) const {
  auto text = run_nix(options, {"eval", "--json", source_.eval_ref + "#" + output, "--apply", expression},
                      deadline_, stop_);
  if (text) return Probe(*std::move(text));
  if (is_missing(text.error())) return Probe();
  return explained(text.error()).with_context("reading " + output + " of flake " + quote(source_.flake_ref));
}

Result<Probe> FlakeReader::probe(const std::string& output, const std::string& looks,
                                 const std::string& expression) const {
  auto found = probe_with(options_, output, "x: if " + looks + " then (" + expression + ") x else \"?\"");
  if (found && (!*found || !is_other_thing(**found))) return found;
  if (!found && found.error().kind != ErrorKind::kFailed) return found;
  EvalOptions elsewhere = options_;
  elsewhere.nix_options.emplace_back("system", kNoSystem);
  return probe_with(elsewhere, output, expression);
}

std::pair<Result<Probe>, Result<Probe>> FlakeReader::probe_both(const FleetOutput& a,
                                                                const FleetOutput& b) const {
  Result<Probe> first = Probe();
  std::jthread other([&] { first = probe(a.name, a.looks, a.common); });
  Result<Probe> second = probe(b.name, b.looks, b.common);
  other.join();
  return {std::move(first), std::move(second)};
}

Result<Reading> FlakeReader::read(const FleetOutput& output, const Selector* wanted, bool by_tags,
                                  Json& common) const {
  Reading reading;
  if (!common.is_object() || !common.contains(output.hosts) || !common[output.hosts].is_object())
    return reading;
  Json& hosts = common[output.hosts];
  const Fleet named = fleet_of_names(hosts);
  reading.needs_tags = output.has_tags && (by_tags || (wanted != nullptr && wanted->has_tags()));
  std::vector<size_t> chosen(named.hosts.size());
  for (size_t i = 0; i < chosen.size(); ++i) chosen[i] = i;
  if (wanted != nullptr && !reading.needs_tags) {
    const auto selected = wanted->select(named);
    // Who is meant may be told by the tags that there are.
    if (!selected && !output.has_tags) return selected.error();
    reading.is_selected = selected.has_value();
    if (selected) chosen = *selected;
  }

  EvalTasks tasks{{output.host}, {}};
  for (const size_t host : chosen) {
    EvalTask task{0, host, named.hosts[host].name.str(), {}};
    if (reading.needs_tags) task.questions.emplace_back(kTags);
    task.questions.emplace_back(kSettings);
    tasks.tasks.push_back(std::move(task));
  }
  std::set<std::string> is_chosen;
  for (const auto& task : tasks.tasks) is_chosen.insert(task.name);
  for (const auto& host : named.hosts) {
    reading.names.push_back(host.name.str());
    if (!is_chosen.contains(host.name.str())) hosts.erase(host.name.str());
  }

  std::optional<Error> fatal;
  const auto on_answer = [&](const EvalTask& task, size_t question, const Result<std::string>& text) {
    auto json = text ? parse_json(*text, "its answer") : Result<Json>(explained(text.error()));
    if (json) {
      hosts[task.name] = *std::move(json);
      return;
    }
    const Error error = json.error();
    const bool is_everybodys = error.kind == ErrorKind::kCancelled || error.kind == ErrorKind::kTimedOut;
    if (!fatal && is_everybodys) fatal = error;
    if (!fatal && task.questions[question] == kTags)
      fatal = error.with_context(place_of(output.host.output, task.name) + ": its tags");
    if (task.questions[question] == kTags || !hosts[task.name].is_object()) hosts[task.name] = Json::object();
    reading.unread.emplace(task.name, error);
  };
  const bool is_one_enough = !output.is_heavy && tasks.tasks.size() <= kLightChunk;
  const Evaluation::Weight light{is_one_enough ? 1 : workers_of(options_), kLightChunk, kLightNeed};
  const Evaluation::Weight heavy{workers_of(options_), EvalSchedule::Limits{}.chunk, kHeavyNeed};
  Evaluation(source_.eval_ref, options_, tasks, output.is_heavy ? heavy : light, on_answer, deadline_, stop_)
      .run();
  if (fatal) return *fatal;
  return reading;
}

}  // namespace flurry::eval
