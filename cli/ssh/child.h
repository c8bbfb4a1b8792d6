#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "core/result.h"
#include "core/sys/fd.h"
#include "core/time.h"

namespace flurry::ssh {

// A long-running local program whose stdin and stdout are one socket of ours; its stderr is kept in
// memory. Destroying it kills and reaps it. Not for use by two threads at once.
class Child {
 public:
  // Takes both ends: `theirs` becomes stdin and stdout. kUnsupported when there is no such program.
  static Result<Child> start(const std::vector<std::string>& argv, sys::Fd theirs);
  Child(Child&& other) noexcept;
  Child& operator=(Child&&) = delete;
  ~Child();

  // The wait status as of waitpid(); kTimedOut.
  Result<int> wait(TimePoint deadline);
  void signal(int number);
  // The last 64 KiB of its stderr so far.
  std::string standard_error() const;

 private:
  Child(pid_t pid, sys::Fd pid_fd, sys::Fd stderr_file);

  pid_t pid_;
  sys::Fd pid_fd_;
  sys::Fd stderr_;
  int status_ = 0;
};

}  // namespace flurry::ssh
