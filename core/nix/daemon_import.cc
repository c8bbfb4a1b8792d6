// Giving a path to the store.
#include <vector>

#include "core/nix/daemon.h"
#include "core/nix/operations.h"
#include "core/sys/clock.h"

namespace flurry::nix {
namespace {

// Nix 2.8 resizes a vector per frame: 64 KiB is twice as fast as 1 MiB there.
constexpr size_t kFrameSize = 64 << 10;
constexpr unsigned kMinorFramed = 23;

std::string import_request(const PathInfo& info) {
  std::string request;
  put_u64(request, kOpAddToStoreNar);
  put_str(request, info.path.str());
  put_str(request, info.deriver ? info.deriver->str() : "");
  put_str(request, info.nar_hash);
  put_paths(request, info.references);
  put_u64(request, 0);  // registration time: now
  put_u64(request, info.nar_size);
  put_u64(request, info.is_ultimate ? 1 : 0);
  put_strs(request, info.signatures);
  put_str(request, info.content_address);
  put_u64(request, 0);  // repair
  put_u64(request, 1);  // don't check signatures; granted to trusted clients only
  return request;
}

// Fills `buffer` unless the NAR ends first, so that frames are full.
Result<size_t> fill(const NarSource& source, std::span<char> buffer) {
  size_t filled = 0;
  while (filled < buffer.size()) {
    ASSIGN_OR_RETURN(const size_t n, source(buffer.subspan(filled)));
    if (n == 0) break;
    filled += n;
  }
  return filled;
}

}  // namespace

// Streams frames until the source ends or `stopped_by` something: the source's failure, or a refusal that
// the daemon sent early. True when the daemon has answered already.
Result<bool> Daemon::send_nar(const NarSource& source, Millis idle_timeout,
                              std::optional<Error>& stopped_by) {
  std::vector<char> payload(kFrameSize);
  std::string frame;
  for (;;) {
    auto filled = fill(source, payload);
    if (!filled) stopped_by = filled.error();
    if (!filled || *filled == 0) return false;
    stream_.set_deadline(sys::now() + idle_timeout);
    frame.clear();
    put_u64(frame, *filled);
    frame.append(payload.data(), *filled);
    RETURN_IF_ERROR(stream_.send(frame));
    for (;;) {
      ASSIGN_OR_RETURN(const bool has_input, stream_.has_input());
      if (!has_input) break;
      ASSIGN_OR_RETURN(Message message, read_message(nullptr));
      if (message.kind == Message::Kind::kOther) continue;
      if (message.kind == Message::Kind::kError) stopped_by = std::move(message.error);
      return true;
    }
  }
}

Result<void> Daemon::add_to_store_nar(const PathInfo& info, const NarSource& source, Millis idle_timeout) {
  RETURN_IF_ERROR(require_minor(kMinorFramed, "receiving paths"));
  RETURN_IF_ERROR(begin(sys::now() + idle_timeout));
  RETURN_IF_ERROR(stream_.send(import_request(info)));
  std::optional<Error> stopped_by;
  ASSIGN_OR_RETURN(const bool has_answered, send_nar(source, idle_timeout, stopped_by));
  // The end of the frames is due in any case: the daemon reads on to it before its next operation.
  std::string end;
  put_u64(end, 0);
  stream_.set_deadline(sys::now() + idle_timeout);
  RETURN_IF_ERROR(stream_.send(end));
  if (!has_answered) {
    ASSIGN_OR_RETURN(auto refused, await_result(nullptr));
    if (!stopped_by) stopped_by = std::move(refused);
  }
  done();
  if (stopped_by) return *stopped_by;
  return {};
}

}  // namespace flurry::nix
