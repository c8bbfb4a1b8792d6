#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "cli/transport.h"

namespace flurry {

// A connection to a server that may take few sessions at once (sshd's MaxSessions): a command that it refuses
// is started over a second connection, which is dialled when it is first needed, once. As thread-safe as a
// connection.
class SpareConnection : public Connection {
 public:
  using Dial = std::function<Result<std::unique_ptr<Connection>>(TimePoint deadline)>;

  // `dial` is called by any thread, once at most.
  SpareConnection(std::unique_ptr<Connection> first, Dial dial)
      : first_(std::move(first)), dial_(std::move(dial)) {}

  Result<std::unique_ptr<RemoteProcess>> exec(const std::string& command, TimePoint deadline) override;
  std::string peer() const override { return first_->peer(); }

 private:
  std::unique_ptr<Connection> first_;
  Dial dial_;
  std::once_flag has_dialled_;
  std::optional<Result<std::unique_ptr<Connection>>> second_;
};

}  // namespace flurry
