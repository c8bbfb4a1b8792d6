// Giving a path to the store.
#include <utility>
#include <vector>

#include "core/nix/daemon.h"
#include "core/nix/operations.h"
#include "core/sys/clock.h"

namespace flurry::nix {
namespace {

// Nix 2.8 resizes a vector per frame: 64 KiB is twice as fast as 1 MiB there.
constexpr size_t kFrameSize = 64 << 10;
constexpr unsigned kMinorFramed = 23;
// Requests whose answer is due. What is in flight lies in the daemon's socket, not in our memory.
constexpr size_t kPathsInFlight = 128;
// What goes out together: as much as the daemon reads at a time. A write for each part of a small path costs
// both sides more than the path.
constexpr size_t kGathered = 32 << 10;

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

}  // namespace

struct Daemon::Imports {
  const StoredSink& on_stored;
  const Millis idle_timeout;
  size_t begun = 0;
  size_t answered = 0;
  std::optional<size_t> cut_short;  // the path whose NAR we could not give whole
  std::optional<Error> refused;     // by the daemon: the first in the order of the paths
  std::optional<Error> gave_up;     // our side's own: what came next could not be had
  std::string gathered;             // to go out

  bool is_stopped() const { return refused || gave_up; }
  size_t in_flight() const { return begun - answered; }
  void refuse(size_t index, Error error) {
    // What cut it short says more than the daemon's word about half a NAR.
    if (!refused && index != cut_short) refused = std::move(error);
  }
};

// Takes the answers that are there, and waits for more while over `in_flight_max` are due. The daemon works
// on one path at a time, so the answers come in the order of the requests.
Result<void> Daemon::take_import_answers(Imports& imports, size_t in_flight_max) {
  while (imports.in_flight() > 0) {
    if (imports.in_flight() <= in_flight_max) {
      ASSIGN_OR_RETURN(const bool has_input, stream_.has_input());
      if (!has_input) break;
    }
    stream_.set_deadline(sys::now() + imports.idle_timeout);
    ASSIGN_OR_RETURN(Message message, read_message(nullptr));
    if (message.kind == Message::Kind::kOther) continue;
    const size_t index = imports.answered++;
    if (message.kind == Message::Kind::kError)
      imports.refuse(index, std::move(message.error));
    else if (!imports.refused && index != imports.cut_short)
      imports.on_stored(1);
  }
  return {};
}

Result<void> Daemon::send_gathered(Imports& imports) {
  for (std::string_view rest = imports.gathered; !rest.empty();) {
    // Anew for each part and for each answer: a daemon that is slow but gets on isn't given up.
    stream_.set_deadline(sys::now() + imports.idle_timeout);
    const auto sent = stream_.send_some(rest);
    const auto heard = take_import_answers(imports, imports.in_flight());
    if (!sent) return sent.error();
    RETURN_IF_ERROR(heard);
    rest.remove_prefix(*sent);
  }
  imports.gathered.clear();
  return take_import_answers(imports, kPathsInFlight);
}

// Streams frames until the source ends or something stops the import, then the end of the frames, which is
// due in any case: the daemon reads on to it before its next operation.
Result<void> Daemon::send_nar(const PathStream& paths, Imports& imports) {
  bool is_whole = false;
  while (!imports.is_stopped() && imports.in_flight() > 0) {
    if (!paths.is_ready || !paths.is_ready()) RETURN_IF_ERROR(send_gathered(imports));
    if (imports.is_stopped()) break;
    const auto piece = paths.nar();
    if (!piece) imports.gave_up = piece.error();
    is_whole = piece && piece->empty();
    if (!piece || is_whole) break;
    for (std::string_view rest = *piece; !rest.empty();) {
      const auto payload = rest.substr(0, kFrameSize);
      rest.remove_prefix(payload.size());
      put_u64(imports.gathered, payload.size());
      imports.gathered += payload;
      if (imports.gathered.size() >= kGathered) RETURN_IF_ERROR(send_gathered(imports));
    }
  }
  if (!is_whole && imports.in_flight() > 0) imports.cut_short = imports.begun - 1;
  put_u64(imports.gathered, 0);
  return {};
}

Result<void> Daemon::add_paths(const PathStream& paths, const StoredSink& on_stored, Millis idle_timeout) {
  RETURN_IF_ERROR(require_minor(kMinorFramed, "receiving paths"));
  RETURN_IF_ERROR(begin(sys::now() + idle_timeout));
  Imports imports{.on_stored = on_stored, .idle_timeout = idle_timeout};
  while (!imports.is_stopped()) {
    if (!paths.is_ready || !paths.is_ready()) RETURN_IF_ERROR(send_gathered(imports));
    if (imports.is_stopped()) break;
    const auto info = paths.next();
    if (!info) imports.gave_up = info.error();
    if (!info || !*info) break;
    imports.gathered += import_request(**info);
    ++imports.begun;
    RETURN_IF_ERROR(send_nar(paths, imports));
    if (imports.gathered.size() >= kGathered) RETURN_IF_ERROR(send_gathered(imports));
  }
  RETURN_IF_ERROR(send_gathered(imports));
  RETURN_IF_ERROR(take_import_answers(imports, 0));
  done();
  if (imports.refused) return *imports.refused;
  if (imports.gave_up) return *imports.gave_up;
  return {};
}

Result<void> Daemon::add_to_store_nar(const PathInfo& info, const NarSource& source, Millis idle_timeout) {
  bool is_given = false;
  const PathStream one{.next = [&]() -> Result<std::optional<PathInfo>> {
                         if (std::exchange(is_given, true)) return std::optional<PathInfo>();
                         return std::optional(info);
                       },
                       .nar = source,
                       .is_ready = {}};
  return add_paths(
      one, [](size_t) {}, idle_timeout);
}

}  // namespace flurry::nix
