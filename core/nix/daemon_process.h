#pragma once

#include <sys/types.h>

#include <memory>
#include <string>

#include "core/result.h"
#include "core/sys/fd.h"

namespace flurry::nix {

// A `nix-daemon --stdio` that we started. It ends by itself when its stream is closed; destroying this
// waits for that, and kills it when it takes too long. One thread.
class DaemonProcess {
 public:
  // `stream` becomes its standard input and output.
  static Result<std::unique_ptr<DaemonProcess>> start(const sys::Fd& stream);
  ~DaemonProcess();
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;

  // The end of what it printed on stderr, for an error message.
  std::string stderr_tail() const;

 private:
  DaemonProcess(pid_t pid, sys::Fd error_file) : pid_(pid), error_file_(std::move(error_file)) {}

  pid_t pid_;
  sys::Fd error_file_;
};

}  // namespace flurry::nix
