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
  // The socket is a file in `directory`, which must be our user's and closed to all others: a name that is in
  // no file system could be reached by whoever shares the network namespace, such as root in a container. It
  // is removed in the end, and so are those that imports left which were killed.
  static Result<ImportLanes> listen(const std::string& directory);
  ImportLanes(ImportLanes&& other) noexcept;
  ImportLanes& operator=(ImportLanes&&) = delete;
  ~ImportLanes();

  // What run_import_lane() needs: letters, digits, hyphens.
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

  ImportLanes(sys::Fd listener, std::string file, std::string address)
      : listener_(std::move(listener)), file_(std::move(file)), address_(std::move(address)) {}
  Result<void> accept_one(TimePoint deadline);

  sys::Fd listener_;
  std::string file_;
  std::string address_;
  std::vector<Lane> lanes_;
};

// Be a lane: hands `in_fd` over to the import at `address` in `directory` as lane `number`, prints a newline
// to `out_fd` and returns when the import has ended.
Result<void> run_import_lane(const std::string& directory, const std::string& address, uint8_t number,
                             int in_fd, int out_fd);

}  // namespace flurry::agent
