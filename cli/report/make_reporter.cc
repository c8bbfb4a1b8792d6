#include "cli/report/make_reporter.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <string_view>
#include <utility>

#include "cli/report/json_reporter.h"
#include "cli/report/plain_reporter.h"
#include "cli/report/sink.h"
#include "cli/report/tty_reporter.h"
#include "core/sys/clock.h"

namespace flurry {
namespace {

std::string_view environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

TerminalSize terminal_size() {
  winsize size{};
  if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_row == 0 || size.ws_col == 0) return {};
  return {size.ws_row, size.ws_col};
}

struct StandardSinks {
  FdSink out{STDOUT_FILENO};
  FdSink err{STDERR_FILENO};
};

// A reporter together with the two descriptors that it writes to; the sinks come first and go last.
template <typename Base>
class WithStandardSinks : private StandardSinks, public Base {
 public:
  template <typename Make, typename... Rest>
  explicit WithStandardSinks(const Make& make, Rest&&... rest)
      : Base(make(static_cast<StandardSinks&>(*this)), std::forward<Rest>(rest)...) {}
  int lost_output() const override { return out.error_number(); }
};

}  // namespace

std::unique_ptr<Reporter> make_reporter(const Options& options) {
  ReportClock clock{sys::now, sys::unix_ms};
  if (options.output == OutputFormat::kJson) {
    const auto out = [](StandardSinks& sinks) -> Sink& { return sinks.out; };
    return std::make_unique<WithStandardSinks<JsonReporter>>(out, std::move(clock));
  }
  const bool can_draw = !environment("TERM").empty() && environment("TERM") != "dumb";
  const bool may_color = can_draw && environment("NO_COLOR").empty();
  const bool out_is_terminal = ::isatty(STDOUT_FILENO) != 0;
  const bool err_is_terminal = ::isatty(STDERR_FILENO) != 0;
  const auto output = [&](StandardSinks& sinks) {
    return ReportOutput{sinks.out, sinks.err, may_color && out_is_terminal, may_color && err_is_terminal};
  };
  if (can_draw && err_is_terminal)
    return std::make_unique<WithStandardSinks<TtyReporter>>(output, std::move(clock), terminal_size,
                                                            options.verbosity, out_is_terminal);
  return std::make_unique<WithStandardSinks<PlainReporter>>(output, std::move(clock), options.verbosity);
}

}  // namespace flurry
