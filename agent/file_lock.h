#pragma once

#include <optional>
#include <string>

#include "core/result.h"
#include "core/sys/fd.h"

namespace flurry::agent {

// An exclusive lock on a file, with the holder's process id written into it for whoever finds it held.
// Ends with the object, and with the process, however that ends; programs that it starts don't inherit it.
class FileLock {
 public:
  // Nothing: somebody else holds it. Does not wait.
  static Result<std::optional<FileLock>> try_take(const std::string& path);

  // Waits in the kernel until it is ours.
  static Result<FileLock> take(const std::string& path);

  // Whether somebody holds it now; takes nothing, so it is in nobody's way. A file that isn't there is not
  // held.
  static Result<bool> is_held(const std::string& path);

  // The holder as the file tells; nothing where it doesn't.
  static std::optional<int> holder(const std::string& path);

 private:
  explicit FileLock(sys::Fd fd) : fd_(std::move(fd)) {}
  void write_holder();

  sys::Fd fd_;
};

}  // namespace flurry::agent
