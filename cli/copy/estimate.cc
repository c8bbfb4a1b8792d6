#include "cli/copy/estimate.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>

#include "cli/copy/announce.h"
#include "cli/copy/bases.h"
#include "cli/copy/path_sender.h"
#include "core/nix/closure.h"
#include "core/sys/clock.h"

namespace flurry::copy {
namespace {

using transfer::FrameType;

Result<transfer::Missing> ask(Connection& connection, const AgentCommand& command, transfer::Hello hello,
                              std::span<const nix::PathInfo> closure, Millis idle_timeout) {
  ASSIGN_OR_RETURN(auto process, connection.exec(command("import"), sys::now() + idle_timeout));
  transfer::FrameStream frames(process->io().get(), process->io().get(), idle_timeout);
  frames.expect_mark();
  RETURN_IF_ERROR(announce(frames, std::move(hello), closure));
  ASSIGN_OR_RETURN(const auto answer, frames.receive());
  if (!answer) return Error{ErrorKind::kFailed, "the import on the host ended without an answer"};
  if (answer->type == FrameType::kError) return decode_failure(answer->payload);
  if (answer->type != FrameType::kMissing)
    return Error{ErrorKind::kInvalidInput, "the host sent a frame out of order"};
  return decode_missing(answer->payload, closure.size());
}

// Packs what would be sent, and throws it away.
Result<void> pack(std::span<const nix::PathInfo> closure, const transfer::Missing& missing,
                  const Bases& bases, const CopyOptions& options, CopyEstimate& estimate) {
  const sys::Fd nowhere(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  if (!nowhere.is_open()) return sys::errno_error("open /dev/null", errno);
  ASSIGN_OR_RETURN(const auto silence, sys::socket_pair());
  transfer::FrameStream frames(silence.first.get(), nowhere.get(), options.idle_timeout);
  transfer::LaneWriter lanes(frames);
  transfer::BlockStream blocks(lanes);
  IndexOfPath index_of;
  for (uint32_t i = 0; i < closure.size(); ++i) index_of.emplace(closure[i].path.str(), i);
  PathSender paths(blocks, index_of, options.shared, [](uint64_t) { return Result<void>(); });
  uint64_t packed = 0;
  for (const uint32_t index : missing.indices) {
    if (packed >= kEstimateBytes) break;
    if (std::binary_search(missing.substituted.begin(), missing.substituted.end(), index)) continue;
    const auto& info = closure[index];
    RETURN_IF_ERROR(paths.send(info, bases.find(info)));
    packed += info.nar_size;
  }
  RETURN_IF_ERROR(blocks.flush());
  const uint64_t to_send = estimate.missing_bytes - estimate.substituted_bytes;
  const double scale = packed == 0 ? 0 : static_cast<double>(to_send) / static_cast<double>(packed);
  estimate.wire_bytes = static_cast<uint64_t>(static_cast<double>(blocks.sent().wire) * scale);
  estimate.delta_paths = paths.delta_paths();
  return {};
}

}  // namespace

Result<CopyEstimate> estimate_copy(Connection& connection, const AgentCommand& command,
                                   const DeploymentId& deployment, const StorePath& top, nix::Daemon& local,
                                   const CopyOptions& options) {
  const TimePoint deadline = sys::now() + options.idle_timeout;
  ASSIGN_OR_RETURN(const auto closure, nix::query_closure(local, top, deadline));
  ASSIGN_OR_RETURN(const auto bases, Bases::load(local, options.bases, deadline));
  const transfer::Hello hello{
      .deployment = deployment, .top = top, .substitute = options.substitute, .only_question = true};
  const auto missing = ask(connection, command, hello, closure, options.idle_timeout);
  if (!missing) return missing.error().with_context("copy");
  CopyEstimate estimate{.closure_paths = closure.size(),
                        .missing_paths = missing->indices.size(),
                        .substituted_paths = missing->substituted.size()};
  for (const auto& info : closure) estimate.closure_bytes += info.nar_size;
  for (const uint32_t index : missing->substituted) estimate.substituted_bytes += closure[index].nar_size;
  for (const uint32_t index : missing->indices) estimate.missing_bytes += closure[index].nar_size;
  RETURN_IF_ERROR(pack(closure, *missing, bases, options, estimate));
  return estimate;
}

}  // namespace flurry::copy
