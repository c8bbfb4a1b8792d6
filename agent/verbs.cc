#include "agent/verbs.h"

#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <string>
#include <system_error>
#include <vector>

#include "agent/build.h"
#include "agent/connect.h"
#include "agent/daemon.h"
#include "agent/file_io.h"
#include "agent/import.h"
#include "agent/import_lanes.h"
#include "agent/probe.h"
#include "agent/run_check.h"
#include "agent/run_switch.h"
#include "agent/tools.h"
#include "core/sys/clock.h"
#include "core/sys/fd.h"
#include "core/sys/limits.h"
#include "core/transfer/stream_mark.h"

namespace flurry::agent {
namespace {

constexpr Millis kMarkTimeout{10'000};

using Arguments = std::vector<std::string>;  // after the verb

// What reads our standard output passes over all that a login shell has printed before it.
void say_mark() {
  static_cast<void>(sys::write_all(STDOUT_FILENO, transfer::kStreamMark, sys::now() + kMarkTimeout));
}

int connect_verb(const Arguments&, MakeHost) {
  say_mark();
  return run_connect(Paths{});
}
int daemon_verb(const Arguments&, MakeHost make_host) { return run_daemon(Paths{}, make_host); }
int deadman_verb(const Arguments& words, MakeHost make_host) {
  return run_deadman_process(Paths{}, words[0], make_host);
}
int probe_verb(const Arguments& words, MakeHost) { return run_probe(words); }

int run_check_verb(const Arguments& words, MakeHost) {
  return words[0] == "--" ? run_check_main(Arguments(words.begin() + 1, words.end())) : 2;
}

int run_switch_verb(const Arguments& words, MakeHost) {
  if (words[1] != "--") return 2;
  return run_switch_main(words[0], Arguments(words.begin() + 2, words.end()));
}

int import_verb(const Arguments&, MakeHost) {
  // Where it can't be made, a copy comes over one channel.
  static_cast<void>(make_private_dir(Paths{}.run()));
  say_mark();
  const auto taken = run_import(STDIN_FILENO, STDOUT_FILENO);
  if (!taken) std::fprintf(stderr, "flurry-agent: %s\n", taken.error().message.c_str());
  return taken ? 0 : 1;
}

int import_lane_verb(const Arguments& words, MakeHost) {
  uint8_t number = 0;
  const auto [end, error] = std::from_chars(words[1].data(), words[1].data() + words[1].size(), number);
  if (error != std::errc() || end != words[1].data() + words[1].size()) return 2;
  const auto done = run_import_lane(Paths{}.run(), words[0], number, STDIN_FILENO, STDOUT_FILENO);
  if (!done) std::fprintf(stderr, "flurry-agent: %s\n", done.error().message.c_str());
  return done ? 0 : 1;
}

int build_verb(const Arguments& words, MakeHost) {
  const auto request = parse_build_words(words);
  if (!request) return 2;
  say_mark();
  return run_build(*request);
}

int version_verb(const Arguments&, MakeHost) {
  std::puts("flurry-agent " FLURRY_VERSION);
  return 0;
}

struct Verb {
  const char* name;
  size_t least_arguments;
  int (*run)(const Arguments&, MakeHost);
  const char* help;
};

constexpr Verb kVerbs[] = {
    {"connect", 0, connect_verb, "start the agent if need be, and speak with it over the standard streams"},
    {"daemon", 0, daemon_verb, "be the agent"},
    {"deadman", 1, deadman_verb, "DEPLOYMENT: bring the host back if the deployment gets stuck"},
    {"run-check", 2, run_check_verb, "-- PROGRAM...: run a check's command and end all that it started"},
    {"run-switch", 3, run_switch_verb, "STATUS_FILE -- PROGRAM...: run a switch and record how it ended"},
    {"import", 0, import_verb, "take store paths from the standard input"},
    {"import-lane", 2, import_lane_verb, "ADDRESS NUMBER: a further channel for an import's standard input"},
    {"build", 3, build_verb, "DEPLOYMENT DRV OUT: build here, until the standard input ends"},
    {"probe", 1, probe_verb, "http|tcp ...: try a health check once"},
    {"--version", 0, version_verb, "say which version this is"},
};

int usage() {
  std::fputs("usage: flurry-agent VERB\n", stderr);
  for (const auto& verb : kVerbs) std::fprintf(stderr, "  %-11s %s\n", verb.name, verb.help);
  return 2;
}

}  // namespace

int run_verb(int argc, char** argv, MakeHost make_host) {
  use_tool_path();
  sys::keep_memory_private();
  const Arguments words(argv + 1, argv + argc);
  for (const auto& verb : kVerbs)
    if (!words.empty() && words[0] == verb.name && words.size() > verb.least_arguments)
      return verb.run(Arguments(words.begin() + 1, words.end()), make_host);
  return usage();
}

}  // namespace flurry::agent
