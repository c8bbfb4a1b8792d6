#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>

namespace flurry::eval {

// A derivation that failed by itself.
struct BuildFailure {
  std::string drv;
  std::string cause;     // Nix's words
  std::string log_tail;  // lines, indented; empty where it said nothing

  // Why a host can't have what it needs, for a person: what failed, the end of its log, how to read all of
  // it. `is_own`: it is the host's derivation itself.
  std::string describe(bool is_own) const;
};

// Follows one Nix program's --log-format internal-json: which derivation says what, and which failed.
// Lines and types that it doesn't know are skipped, as newer versions add some. One thread.
class BuildLog {
 public:
  using OnLine = std::function<void(std::string_view line)>;
  using OnFailure = std::function<void(BuildFailure failure)>;

  // Each log line goes to `on_line` as "name> line", each derivation that fails by itself to `on_failure`,
  // once. Both may be empty.
  BuildLog(OnLine on_line, OnFailure on_failure)
      : on_line_(std::move(on_line)), on_failure_(std::move(on_failure)) {}

  // One line of the program's stderr.
  void take_line(std::string_view line);

  // What the program said last of what went wrong, and of what only follows from that nothing else; for
  // failures that no derivation is named for.
  const std::string& last_error() const { return last_error_; }

 private:
  using Tail = std::deque<std::string>;

  void take_message(std::string text);
  void take_log(uint64_t activity, std::string line);

  OnLine on_line_;
  OnFailure on_failure_;
  std::map<uint64_t, std::string> building_;  // activity to derivation
  std::map<std::string, Tail> tails_;         // derivation to the end of its log
  std::set<std::string> failed_;
  std::string last_error_;
  std::string refusal_;  // what the last builder said that was not to be had
};

}  // namespace flurry::eval
