#include "cli/report/live_area.h"

#include <algorithm>

#include "cli/report/text.h"

namespace flurry {
namespace {

constexpr size_t kNameWidthMax = 30;
constexpr size_t kStateWidth = 18;
constexpr size_t kStageWidth = 10;
constexpr size_t kTimeWidth = 7;
// A rate over less is noise, and over more is not what there is now.
constexpr Millis kRateMin{500};
constexpr Millis kRateSpan{5000};

}  // namespace

void LiveArea::start(const std::vector<std::string>& hosts, TimePoint now) {
  started_ = now;
  order_ = hosts;
  hosts_.clear();
  name_width_ = 0;
  for (const auto& host : hosts) {
    hosts_[host].since = now;
    name_width_ = std::max(name_width_, columns_of(clean_line(host)));
  }
  name_width_ = std::min(name_width_, kNameWidthMax);
}

void LiveArea::set_stage(const std::string& host, Stage stage, TimePoint now) {
  const auto found = hosts_.find(host);
  if (found == hosts_.end() || found->second.stage == stage) return;
  found->second.stage = stage;
  found->second.since = now;
  found->second.copy.reset();
}

void LiveArea::set_copy(const std::string& host, const CopyState& state, TimePoint now) {
  const auto found = hosts_.find(host);
  if (found == hosts_.end()) return;
  Line& line = found->second;
  if (!line.copy) line.sent.clear();
  if (line.sent.empty() || now - line.sent.back().first >= kRateMin)
    line.sent.emplace_back(now, state.wire_bytes);
  while (line.sent.size() > 1 && now - line.sent[1].first >= kRateSpan) line.sent.pop_front();
  line.copy = state;
}

void LiveArea::end(const std::string& host, const HostResult& result, Millis elapsed) {
  const auto found = hosts_.find(host);
  if (found == hosts_.end()) return;
  found->second.result = result;
  found->second.elapsed = elapsed;
}

std::string LiveArea::draw(const std::string& host, const Line& line, TimePoint now, size_t columns,
                           const Palette& palette) const {
  std::string left = pad(fit_columns(clean_line(host), name_width_), name_width_) + "  ";
  if (line.result) {
    const std::string state = pad(describe(*line.result), kStateWidth);
    std::string tail = pad(format_duration(line.elapsed), kTimeWidth);
    const std::string reason = clean_line(line.result->reason);
    if (!reason.empty()) tail += "  " + reason;
    const size_t room = columns - std::min(columns, columns_of(left));
    const std::string shown = fit_columns(state + "  " + tail, room);
    const size_t colored = std::min(shown.size(), state.size());
    // Colour adds no columns, so it goes in after the cut.
    return fit_columns(left, columns) + palette.by_outcome(line.result->outcome, shown.substr(0, colored)) +
           shown.substr(colored);
  }
  std::string text = left + pad(std::string(to_string(line.stage)), kStageWidth) + "  " +
                     pad(format_duration(now - line.since), kTimeWidth) + "of " +
                     pad(format_duration(now - started_), kTimeWidth);
  if (line.copy) {
    text += "  " + describe_copy(*line.copy);
    const auto& [since, before] = line.sent.front();
    const Millis took = now - since;
    if (took >= kRateMin && line.copy->wire_bytes > before)
      text += ", " +
              format_bytes((line.copy->wire_bytes - before) * 1000 / static_cast<uint64_t>(took.count())) +
              "/s";
    const std::string saved = describe_saved(line.copy->bytes_sent, line.copy->wire_bytes);
    if (line.copy->wire_bytes > 0 && !saved.empty()) text += ", " + saved;
  }
  return fit_columns(text, columns);
}

std::string LiveArea::draw_counts() const {
  size_t waiting = 0;
  size_t active = 0;
  std::vector<HostResult> ended;
  for (const auto& [host, line] : hosts_) {
    if (line.result)
      ended.push_back(*line.result);
    else if (line.stage == Stage::kWaiting)
      ++waiting;
    else
      ++active;
  }
  std::string out = std::to_string(hosts_.size()) + " hosts: " + std::to_string(active) + " active, " +
                    std::to_string(waiting) + " waiting, " + std::to_string(ended.size()) + " ended";
  return ended.empty() ? out : out + " (" + count_outcomes(ended, 0) + ")";
}

std::vector<std::string> LiveArea::lines(TimePoint now, TerminalSize size, const Palette& palette) const {
  // The last column and the last row stay free: writing there makes some terminals scroll or wrap.
  const size_t columns = size.columns > 1 ? size.columns - 1 : 1;
  const size_t rows = size.rows > 1 ? size.rows - 1 : 1;
  std::vector<std::string> out;
  if (order_.size() <= rows) {
    for (const auto& host : order_) out.push_back(draw(host, hosts_.at(host), now, columns, palette));
    return out;
  }
  for (const auto& host : order_) {
    if (out.size() + 1 >= rows) break;
    const Line& line = hosts_.at(host);
    if (!line.result && line.stage != Stage::kWaiting) out.push_back(draw(host, line, now, columns, palette));
  }
  out.push_back(fit_columns(draw_counts(), columns));
  return out;
}

}  // namespace flurry
