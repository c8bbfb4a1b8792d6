#pragma once

#include <deque>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "cli/reporter.h"

namespace flurry {

// Marks text for a terminal; gives it back unchanged where colours are off.
class Palette {
 public:
  explicit Palette(bool color) : color_(color) {}
  std::string bold(const std::string& text) const { return mark("1", text); }
  std::string dim(const std::string& text) const { return mark("2", text); }
  std::string red(const std::string& text) const { return mark("1;31", text); }
  std::string yellow(const std::string& text) const { return mark("33", text); }
  std::string green(const std::string& text) const { return mark("32", text); }
  // Green for what is good, yellow for what left the host as it was, red for the rest.
  std::string by_outcome(Outcome outcome, const std::string& text) const;

 private:
  std::string mark(const char* code, const std::string& text) const;
  const bool color_;
};

// What a person's reporter remembers of a run for its end: the hosts in order, how each ended, and the
// last lines that its programs printed.
class RunMemory {
 public:
  void start(const DeploymentInfo& info);
  void log(const std::string& host, std::string_view line);
  void copied(const CopyAccount& account);
  void end(const std::string& host, const HostResult& result, Millis elapsed);

  // What explains a failure, a line each: the reason and the last output; of a dry run what it would do.
  // Empty otherwise.
  std::vector<std::string> explaining_lines(const std::string& host, const HostResult& result) const;
  // The table of hosts, and the last line: what the exit code means.
  std::string summary(const std::vector<HostResult>& results, int exit_code, Millis elapsed,
                      const Palette& palette) const;

 private:
  Goal goal_ = Goal::kSwitch;
  std::vector<std::string> hosts_;
  std::map<std::string, Millis> elapsed_;
  CopyAccount copied_;  // of all hosts
  std::map<std::string, std::deque<std::string>> last_lines_;
};

bool is_good(Outcome outcome);

// "succeeded", "failed-unchanged in copy".
std::string describe(const HostResult& result);

// "1 of 8 hosts rolled back; 7 succeeded".
std::string count_outcomes(const std::vector<HostResult>& results, int exit_code);

// "deploying (switch) 3 hosts from . at 4f2a1b9, deployment 01J…", and what must be said before.
std::string describe_start(const DeploymentInfo& info);
inline constexpr std::string_view kNoMagicRollback =
    "WARNING: magic rollback is OFF: a host that cannot be reached after the switch stays as it is";

// Whether the line is for everybody, or only for who asked for what programs print (-v).
bool is_shown(Stage stage, int verbosity);

// "120.0 MiB of 1.2 GiB (9 %)".
std::string describe_copy(const CopyState& state);

// "85 % saved", by compression and deltas; empty where nothing was.
std::string describe_saved(uint64_t content, uint64_t wire);

// "12 paths, 45.0 MiB, as 4.1 MiB on the wire (90 % saved), 8 of them as deltas; 511 were there".
std::string describe_copied(const CopyAccount& account);

}  // namespace flurry
