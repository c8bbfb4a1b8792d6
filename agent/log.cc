#include "agent/log.h"

#include <unistd.h>

#include <string>

namespace flurry::agent {
namespace {

// journald adds the time and the unit; the prefix is sd-daemon(3)'s priority. One write keeps a line
// whole among threads. A log that can't be written must not stop a deployment.
void write_line(const char* priority, std::string_view text) {
  std::string line = priority;
  for (char c : text) line += c == '\n' ? ' ' : c;
  line += '\n';
  [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace

void log_info(std::string_view text) { write_line("<6>", text); }
void log_warning(std::string_view text) { write_line("<4>", text); }

}  // namespace flurry::agent
