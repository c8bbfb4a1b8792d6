#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <string>
#include <string_view>

#include "eval/builder.h"

namespace flurry::eval {

// Follows one Nix program's --log-format internal-json: which derivation says what, and which failed.
// Lines and types that it doesn't know are skipped, as newer versions add some. One thread.
class BuildLog {
 public:
  // Each log line goes to `on_log` as "name> line"; it may be empty.
  explicit BuildLog(Builder::OnLog on_log) : on_log_(std::move(on_log)) {}

  // One line of the program's stderr.
  void take_line(std::string_view line);

  // Why building `drv` failed, for a person: the derivation that failed by itself, the end of its
  // log, how to read all of it.
  std::string describe_failure(const std::string& drv) const;

 private:
  using Tail = std::deque<std::string>;

  void take_message(std::string text);
  void take_log(uint64_t activity, std::string line);

  Builder::OnLog on_log_;
  std::map<uint64_t, std::string> building_;  // activity to derivation
  std::map<std::string, Tail> tails_;         // derivation to the end of its log
  std::string cause_;                         // the first error of a derivation's own
  std::string cause_drv_;
  std::string last_error_;
};

}  // namespace flurry::eval
