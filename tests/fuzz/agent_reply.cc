// What a hostile host may answer: taken or refused, and nothing of it gets at a terminal or breaks a line
// of JSON.
#include <google/protobuf/util/json_util.h>

#include <limits>

#include "cli/report/human_text.h"
#include "cli/report/json_reporter.h"
#include "cli/report/text.h"
#include "cli/rpc/agent_convert.h"
#include "flurry/v1/agent.pb.h"
#include "flurry/v1/event.pb.h"
#include "tests/fuzz/fuzz.h"

namespace flurry::fuzz {
namespace {

constexpr long long kNow = 1'780'000'000'000;

class Text : public Sink {
 public:
  void write(std::string_view text) override { text_ += text; }
  const std::string& str() const { return text_; }

 private:
  std::string text_;
};

void check_printable(std::string_view text) {
  while (!text.empty()) {
    const auto line = text.substr(0, text.find('\n'));
    FLURRY_CHECK(clean_line(line, line.size() + 1) == line);
    text.remove_prefix(std::min(line.size() + 1, text.size()));
  }
}

void check_json(const std::string& line) {
  FLURRY_CHECK(line.ends_with('\n') && line.find('\n') == line.size() - 1);
  v1::Event event;
  FLURRY_CHECK(google::protobuf::util::JsonStringToMessage(line, &event).ok());
}

JsonReporter json_to(Sink& sink) {
  return JsonReporter(sink, {[] { return TimePoint(); }, [] { return kNow; }});
}

void check_inspection(const v1::InspectReply& reply, size_t size) {
  auto inspection = to_inspection(reply, kNow);
  if (!inspection) return check_told(inspection.error(), size);
  const long long skew = inspection->facts.clock_skew_ms;
  FLURRY_CHECK(skew > std::numeric_limits<long long>::min() && reply.unix_ms() - skew == kNow);
  StatusReport report{.host = "h"};
  report.state = inspection->facts.state;
  report.booted = inspection->booted;
  report.system_running = inspection->system_running;
  report.active = inspection->active;
  report.last = inspection->last;
  check_printable(status_text(report, kNow, Palette(false)));
  Text json;
  json_to(json).status(report);
  check_json(json.str());
}

void check_view(const v1::Observation& observation, size_t size) {
  const auto view = to_view(observation);
  if (!view) return check_told(view.error(), size);
  FLURRY_CHECK(view->remaining >= Millis(0));
  HostResult result;
  result.reason = view->reason;
  result.output = view->output;
  Text json;
  json_to(json).ended("h", result, Millis(1));
  check_json(json.str());
}

void check_reports(const v1::CheckReply& reply, FailedUnits units) {
  Text json;
  for (const auto& report : to_reports(reply, units)) check_printable(check_text(report, Palette(false)));
}

template <typename Message>
bool parse(std::string_view bytes, Message& message) {
  return message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()));
}

}  // namespace

void run_one(std::string_view bytes) {
  Input input(bytes);
  const unsigned kind = input.byte() % 4;
  v1::InspectReply inspect;
  v1::Observation observation;
  v1::CheckReply check;
  if (kind == 0 && parse(input.rest(), inspect)) check_inspection(inspect, bytes.size());
  if (kind == 1 && parse(input.rest(), observation)) check_view(observation, bytes.size());
  if (kind == 2 && parse(input.rest(), check)) check_reports(check, FailedUnits::kAny);
  if (kind == 3 && parse(input.rest(), check)) check_reports(check, FailedUnits::kIgnore);
}

}  // namespace flurry::fuzz
