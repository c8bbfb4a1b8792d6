#include "cli/help.h"

#include <algorithm>
#include <array>

namespace flurry {
namespace {

constexpr size_t kTextColumn = 30;

constexpr OptionSpec kOptions[] = {
    {"on", 0, "SEL",
     "only these hosts: names, globs, @tag globs;\n"
     "',' or, '&' and, '!' not, parentheses"},
    {"parallel", 'p', "N", "at most N hosts at a time, 1 to 1000 (default 10)"},
    {"goal", 0, "GOAL",
     "how far to go (default switch):\n"
     "switch        activate, check, confirm, commit\n"
     "test          activate and check, the boot default stays\n"
     "boot          make it the boot default, activate nothing\n"
     "dry-activate  show what would be restarted\n"
     "push          build and copy only\n"
     "build         build only"},
    {"to", 0, "N", "generation number to go to (default: the one before)"},
    {"no-magic-rollback", 0, "",
     "do not go back when no confirmation comes: a host\n"
     "that can no longer be reached stays as it is"},
    {"confirm-timeout", 0, "TIME",
     "how long a host waits for the confirmation before it\n"
     "goes back: 30, 30s, 2m; 5s to 24h (default: the host's)"},
    {"allow-no-rollback", 0, "",
     "go on where the running system is not known, so that\n"
     "the host could not go back to it"},
    {"yes", 'y', "", "do not ask"},
    {"output", 0, "FORMAT",
     "human (default), or json: one object a line on\n"
     "stdout, and nothing else there"},
    {"schema", 0, "SCHEMA",
     "which output of the flake to read: flurry, deploy\n"
     "(deploy-rs), colmena (colmenaHive), or nixos\n"
     "(nixosConfigurations); default: the first it has"},
    {"override-input", 0, "NAME FLAKE", "replace an input of the flake; repeatable"},
    {"option", 0, "NAME VALUE", "set an option of Nix; repeatable"},
    {"max-jobs", 0, "N", "builds at a time on this machine; 0: remote builders\nonly (default: Nix's)"},
    {"cores", 0, "N", "cores for one build; 0: all (default: Nix's)"},
    {"builders", 0, "BUILDERS", "remote builders, as nix.conf has them ('': none)"},
    {"keep-failed", 0, "", "keep the directory of a build that failed"},
    {"sign-key", 0, "FILE",
     "sign what is copied with this secret key, as\n"
     "nix-store --generate-binary-cache-key makes it"},
    {"no-substitute", 0, "",
     "send all: no host fetches from its binary caches,\n"
     "whatever the flake says"},
    {"eval-memory", 0, "SIZE",
     "memory that evaluation may take: 512M, 4G\n"
     "(default: three quarters of what is available)"},
    {"impure", 0, "", "evaluate impurely"},
    {"show-trace", 0, "", "show the trace of an evaluation error"},
    {"verbose", 'v', "", "also show what builds and switches print; repeatable"},
    {"help", 'h', "", "show this help"},
    {"version", 'V', "", "show the version"},
};

constexpr std::string_view kFutureVerbs[] = {"apply", "history", "exec", "init"};

constexpr ExitCodeSpec kGood{0, "every host is unchanged, succeeded or staged"};
constexpr ExitCodeSpec kAnswered{0, "every host answered"};
constexpr ExitCodeSpec kUsage{1, "usage or configuration error"};
constexpr ExitCodeSpec kNix{2, "evaluation or build failed"};
constexpr ExitCodeSpec kConnection{3, "connection, preflight or copy failed"};
constexpr ExitCodeSpec kUnreached{3, "some host could not be reached"};
constexpr ExitCodeSpec kRolledBack{4, "some host was rolled back"};
constexpr ExitCodeSpec kLook{5, "some host's rollback failed, or its state is unknown: someone should look"};
constexpr ExitCodeSpec kSkipped{6, "nothing failed, but some host was skipped"};
constexpr ExitCodeSpec kStopped{130, "stopped by the user"};

VerbSpec deploy_spec() {
  return {Verb::kDeploy,
          "deploy",
          "bring hosts to what the flake says",
          "Evaluates, builds and copies each host's system, activates it, runs its health\n"
          "checks, confirms over a new connection that it can still be reached, and only then\n"
          "makes it the boot default. A host that fails any of this, or hears no confirmation\n"
          "in time, goes back by itself to the system that ran before. One host's failure does\n"
          "not disturb the others. Ctrl-C once starts nothing new, twice detaches.",
          {"on",
           "parallel",
           "goal",
           "no-magic-rollback",
           "confirm-timeout",
           "allow-no-rollback",
           "yes",
           "output",
           "schema",
           "override-input",
           "option",
           "max-jobs",
           "cores",
           "builders",
           "keep-failed",
           "sign-key",
           "no-substitute",
           "eval-memory",
           "impure",
           "show-trace",
           "verbose",
           "help"},
          {kGood, kUsage, kNix, kConnection, kRolledBack, kLook, kSkipped, kStopped},
          {"flurry deploy", "flurry deploy .#web-01,web-02", "flurry deploy --on '@web & !web-03' -p 4",
           "flurry deploy github:example/fleet --goal dry-activate"}};
}

VerbSpec build_spec() {
  return {Verb::kBuild,
          "build",
          "build what the flake says, and nothing else",
          "Evaluates and builds each host's system and its users' profiles on this machine, or\n"
          "on Nix's remote builders, and prints where they are. No host is contacted.\n"
          "What hosts have in common is built once. One host's failure is its own.",
          {"on", "parallel", "output", "schema", "override-input", "option", "max-jobs", "cores", "builders",
           "keep-failed", "eval-memory", "impure", "show-trace", "verbose", "help"},
          {{0, "everything was built"}, kUsage, kNix, kStopped},
          {"flurry build", "flurry build .#web-01 --max-jobs 4", "flurry build --on @web --output json"}};
}

VerbSpec push_spec() {
  return {
      Verb::kPush,
      "push",
      "build and copy, and activate nothing",
      "Evaluates, builds and copies each host's system to it, where it waits for a later\n"
      "`flurry deploy`, which then has nothing to copy. Nothing that runs there changes.",
      {"on", "parallel", "output", "schema", "override-input", "option", "max-jobs", "cores", "builders",
       "keep-failed", "sign-key", "no-substitute", "eval-memory", "impure", "show-trace", "verbose", "help"},
      {{0, "every host has it"}, kUsage, kNix, kConnection, kSkipped, kStopped},
      {"flurry push", "flurry push --on '@web & !web-03' -p 4"}};
}

VerbSpec plan_spec() {
  return {Verb::kPlan,
          "plan",
          "say what a deployment would copy, and change nothing",
          "Evaluates and builds here, asks each host what it lacks, and prints from which\n"
          "system to which it would go, how much would be copied and about how many bytes\n"
          "that takes on the wire. Nothing on a host is changed. Hosts that build for\n"
          "themselves (buildOn = \"target\") are named, and not asked.",
          {"on", "parallel", "output", "schema", "override-input", "option", "max-jobs", "cores", "builders",
           "keep-failed", "no-substitute", "eval-memory", "impure", "show-trace", "verbose", "help"},
          {{0, "every host has said what it lacks"}, kUsage, kNix, kConnection, kSkipped, kStopped},
          {"flurry plan", "flurry plan --on @web --output json"}};
}

VerbSpec hosts_spec() {
  return {Verb::kHosts,
          "hosts",
          "list the hosts that the flake declares",
          "Reads the flake and prints each host with its addresses, user, port, tags,\n"
          "profiles, health checks and the hosts that it requires.\n"
          "No system is evaluated, nothing is built and no host is contacted.\n"
          "With --on it shows what a selection would choose.",
          {"on", "output", "schema", "override-input", "option", "impure", "show-trace", "verbose", "help"},
          {{0, "the hosts were listed"}, kUsage, {2, "evaluation failed"}, kStopped},
          {"flurry hosts", "flurry hosts --on '@web,db-*'", "flurry hosts --output json"}};
}

VerbSpec eval_spec() {
  return {Verb::kEval,
          "eval",
          "evaluate hosts and print their derivations",
          "Evaluates what the flake says about each host and prints the derivation of its\n"
          "system and of each of its users' profiles, as soon as it is known.\n"
          "Nothing is built and no host is contacted. One host's error is its own.",
          {"on", "output", "schema", "override-input", "option", "eval-memory", "impure", "show-trace",
           "verbose", "help"},
          {{0, "every host was evaluated"}, kUsage, {2, "some host's evaluation failed"}, kStopped},
          {"flurry eval", "flurry eval .#web-01 --show-trace", "flurry eval --on @web --output json"}};
}

VerbSpec status_spec() {
  return {Verb::kStatus,
          "status",
          "show what runs on each host",
          "Asks each host what runs, what it would boot and how its last deployment ended,\n"
          "and compares that with what the flake says: in sync, drifted or not evaluated.\n"
          "Shows failed units, a needed reboot and a deployment that is under way.\n"
          "A deployment whose controller went away is finished by its host, and shown here.",
          {"on", "parallel", "output", "schema", "override-input", "option", "eval-memory", "impure",
           "show-trace", "verbose", "help"},
          {kAnswered, kUsage, {2, "evaluation failed"}, kUnreached, kStopped},
          {"flurry status", "flurry status .#web-01", "flurry status --on @db --output json"}};
}

VerbSpec check_spec() {
  return {Verb::kCheck,
          "check",
          "run the health checks alone",
          "Runs each host's health checks against the system that runs there now.\n"
          "Nothing is built, copied or switched.\n"
          "Checks that are only wanted are shown, and do not change the exit code.",
          {"on", "parallel", "output", "schema", "override-input", "option", "impure", "show-trace",
           "verbose", "help"},
          {{0, "every required check passed"},
           kUsage,
           {2, "evaluation failed"},
           kUnreached,
           {5, "some required check failed: someone should look"},
           kStopped},
          {"flurry check", "flurry check --on @web"}};
}

VerbSpec rollback_spec() {
  return {
      Verb::kRollback,
      "rollback",
      "go back to an earlier generation",
      "Takes every profile that a selected host declares back to its last committed\n"
      "generation before the present one, a second time further back; with --to N its\n"
      "system alone, to generation N. A profile with none before it stays, and is named.\n"
      "This is a deployment of its own, with the same checks, confirmation and\n"
      "way back as `flurry deploy`. When a host has nothing to go back to, nothing is done\n"
      "on any host. Asks first when someone sits at the terminal.",
      {"on", "parallel", "to", "no-magic-rollback", "confirm-timeout", "allow-no-rollback", "yes", "output",
       "schema", "override-input", "option", "impure", "show-trace", "verbose", "help"},
      {kGood, kUsage, {2, "evaluation failed"}, kConnection, kRolledBack, kLook, kSkipped, kStopped},
      {"flurry rollback .#web-01", "flurry rollback --on web-01 --to 41", "flurry rollback --on @web --yes"}};
}

void append_row(std::string& out, const std::string& left, std::string_view text) {
  out += "  " + left;
  size_t column = 2 + left.size();
  if (column + 2 > kTextColumn) {
    out += '\n';
    column = 0;
  }
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    out.append(kTextColumn - column, ' ').append(text.substr(0, end)) += '\n';
    text.remove_prefix(std::min(end + 1, text.size()));
    column = 0;
  }
}

std::string left_of(const OptionSpec& option) {
  std::string out = option.letter ? std::string("-") + option.letter + ", " : "    ";
  out += "--" + std::string(option.name);
  if (!option.values.empty()) out += " " + std::string(option.values);
  return out;
}

}  // namespace

std::span<const OptionSpec> option_table() { return kOptions; }

const OptionSpec* find_option(std::string_view name) {
  const auto* found = std::ranges::find(kOptions, name, &OptionSpec::name);
  return found == std::end(kOptions) ? nullptr : found;
}

unsigned value_count(const OptionSpec& option) {
  return option.values.empty() ? 0 : 1 + static_cast<unsigned>(std::ranges::count(option.values, ' '));
}

std::vector<VerbSpec> verb_table() {
  return {deploy_spec(), build_spec(),  push_spec(),  plan_spec(),    hosts_spec(),
          eval_spec(),   status_spec(), check_spec(), rollback_spec()};
}

std::span<const std::string_view> future_verbs() { return kFutureVerbs; }

std::string general_help() {
  std::string out =
      "Usage: flurry VERB [FLAKE[#HOST,...]] [options]\n\n"
      "Deploys NixOS to a fleet of hosts. FLAKE defaults to '.'.\n\nVerbs:\n";
  for (const auto& verb : verb_table()) append_row(out, std::string(verb.name), verb.summary);
  append_row(out, "help VERB", "what the verb does, its options and exit codes");
  out += "\nOptions:\n";
  for (const auto* name : {"help", "version"})
    append_row(out, left_of(*find_option(name)), find_option(name)->text);
  return out + "\nSee 'flurry VERB --help' for the options of a verb.";
}

std::string verb_help(const VerbSpec& verb) {
  std::string out = "Usage: flurry " + std::string(verb.name) + " [FLAKE[#HOST,...]] [options]\n\n";
  out.append(verb.description) += "\n\nFLAKE defaults to '.'; HOST,... selects hosts by name.\n\nOptions:\n";
  for (const auto name : verb.options) {
    const OptionSpec& option = *find_option(name);
    append_row(out, left_of(option), option.text);
  }
  out += "\nExit codes (the worst host decides):\n";
  for (const auto& [code, text] : verb.exit_codes) {
    const std::string number = std::to_string(code);
    out += "  " + std::string(3 - number.size(), ' ') + number + "  " + std::string(text) + "\n";
  }
  out += "\nExamples:";
  for (const auto example : verb.examples) out += "\n  " + std::string(example);
  return out;
}

}  // namespace flurry
