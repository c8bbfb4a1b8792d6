#pragma once

#include <functional>
#include <string_view>

#include "core/time.h"

namespace flurry {

// Where text goes. Nothing is kept back: what was written has left the process.
class Sink {
 public:
  virtual ~Sink() = default;
  virtual void write(std::string_view text) = 0;
};

// A file descriptor, not owned. After an error nothing more is written: a closed terminal must not change
// what happens to hosts. Whoever ends the run asks for the error.
class FdSink : public Sink {
 public:
  explicit FdSink(int fd) : fd_(fd) {}
  void write(std::string_view text) override;
  // The errno of the first write that failed; 0: all that was written has left.
  int error_number() const { return error_number_; }

 private:
  const int fd_;
  int error_number_ = 0;
};

struct ReportClock {
  std::function<TimePoint()> now;
  std::function<long long()> unix_ms;
};

// The two ways out, and whether colours may be used there.
struct ReportOutput {
  Sink& out;  // results
  Sink& err;  // progress and logs
  bool out_color = false;
  bool err_color = false;
};

}  // namespace flurry
