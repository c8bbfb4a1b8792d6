#pragma once

#include <deque>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cli/report/summary.h"
#include "cli/reporter.h"

namespace flurry {

struct TerminalSize {
  size_t rows = 24;
  size_t columns = 80;
};

// What a person watches during a run: a line for each host. Only decides what it looks like.
class LiveArea {
 public:
  void start(const std::vector<std::string>& hosts, TimePoint now);
  void set_stage(const std::string& host, Stage stage, TimePoint now);
  void set_copy(const std::string& host, const CopyState& state, TimePoint now);
  void end(const std::string& host, const HostResult& result, Millis elapsed);
  bool is_empty() const { return order_.empty(); }

  // Never more than `size.rows - 1` lines, none wider than `size.columns - 1`. With too many hosts those
  // that something happens on, and a line of counts.
  std::vector<std::string> lines(TimePoint now, TerminalSize size, const Palette& palette) const;

 private:
  struct Line {
    Stage stage = Stage::kPreflight;
    TimePoint since;
    std::optional<CopyState> copy;
    std::deque<std::pair<TimePoint, uint64_t>> sent;  // on the wire, over the last seconds
    std::optional<HostResult> result;
    Millis elapsed{0};
  };

  std::string draw(const std::string& host, const Line& line, TimePoint now, size_t columns,
                   const Palette& palette) const;
  std::string draw_counts() const;

  TimePoint started_{};
  size_t name_width_ = 0;
  std::vector<std::string> order_;
  std::map<std::string, Line> hosts_;
};

}  // namespace flurry
