#include "cli/spare_connection.h"

namespace flurry {

Result<std::unique_ptr<RemoteProcess>> SpareConnection::exec(const std::string& command, TimePoint deadline) {
  auto process = first_->exec(command, deadline);
  if (process || process.error().kind != ErrorKind::kRefused) return process;
  std::call_once(has_dialled_, [&] { second_.emplace(dial_(deadline)); });
  if (!*second_) return second_->error().with_context(process.error().message + "; over a second connection");
  return (**second_)->exec(command, deadline);
}

}  // namespace flurry
