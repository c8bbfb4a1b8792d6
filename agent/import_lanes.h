#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/sys/duplex.h"
#include "core/sys/fd.h"

namespace flurry::agent {

// The further channels that a copy comes over. Each is the standard input of a process of its own on this
// host (run_import_lane), which hands that over to the import, through a socket that takes only processes of
// the same user. One thread.
class ImportLanes {
 public:
  static Result<ImportLanes> listen();

  // What run_import_lane() needs: letters and digits.
  const std::string& address() const { return address_; }

  // The bytes of that lane; waits until it is there. kTimedOut, kInvalidInput when there can't be such a one.
  Result<sys::Duplex*> lane(uint8_t number, TimePoint deadline);

 private:
  struct Lane {
    uint8_t number;
    sys::Fd process;  // its end tells the process to end
    sys::Fd in;
    std::unique_ptr<sys::Duplex> bytes;
  };

  ImportLanes(sys::Fd listener, std::string address)
      : listener_(std::move(listener)), address_(std::move(address)) {}
  Result<void> accept_one(TimePoint deadline);

  sys::Fd listener_;
  std::string address_;
  std::vector<Lane> lanes_;
};

// Be a lane: hands `in_fd` over to the import at `address` as lane `number`, prints a newline to `out_fd` and
// returns when the import has ended.
Result<void> run_import_lane(const std::string& address, uint8_t number, int in_fd, int out_fd);

}  // namespace flurry::agent
