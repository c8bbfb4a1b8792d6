#include "cli/copy/copy.h"

#include <sys/socket.h>

#include <future>

#include "cli/copy/announce.h"
#include "cli/copy/bases.h"
#include "cli/copy/convert.h"
#include "cli/copy/path_sender.h"
#include "cli/copy/send_order.h"
#include "core/nix/closure.h"
#include "core/sys/clock.h"
#include "core/transfer/block_stream.h"

namespace flurry::copy {
namespace {

using transfer::Frame;
using transfer::FrameType;

// How long to wait for the reason after the stream to the host broke.
constexpr Millis kReasonTimeout{5000};
// How often progress is told.
constexpr Millis kTellInterval{100};
// How many channels carry a big copy: 8 MiB on their way, 160 MB/s at a round trip of 50 ms.
constexpr uint8_t kLanes = 4;

// The conversation with one import.
class Sender {
 public:
  // `bases`: null: everything goes in full.
  Sender(Connection& connection, const AgentCommand& command, int io,
         const std::vector<nix::PathInfo>& closure, const Bases* bases, const ProgressSink& on_progress,
         const CopyOptions& options)
      : connection_(connection),
        command_(command),
        lanes_from_(options.lanes_from),
        substitute_(options.substitute),
        fetch_standstill_max_(2 * options.idle_timeout),
        closure_(closure),
        bases_(bases),
        on_progress_(on_progress),
        frames_(io, io, options.idle_timeout),
        lane_writer_(frames_),
        blocks_(lane_writer_),
        paths_(blocks_, index_of_, options.shared, [this](uint64_t worth) { return on_piece(worth); }) {
    for (uint32_t i = 0; i < closure_.size(); ++i) index_of_.emplace(closure_[i].path.str(), i);
    frames_.expect_mark();
  }

  // The host's own words say more than the broken pipe that follows them.
  Result<CopyStats> run(const DeploymentId& deployment, const StorePath& top) {
    auto stats = run_steps(deployment, top);
    if (stats || heard_failure_) return stats;
    if (const auto reason = last_words()) return *reason;
    return stats;
  }

  bool is_cut() const { return is_cut_; }
  uint64_t wire_bytes() const { return blocks_.sent().wire; }
  bool has_sent_deltas() const { return paths_.delta_paths() > 0; }

 private:
  Result<CopyStats> run_steps(const DeploymentId& deployment, const StorePath& top) {
    const transfer::Hello hello{.deployment = deployment, .top = top, .substitute = substitute_};
    RETURN_IF_ERROR(check_sent(announce(frames_, hello, closure_)));
    ASSIGN_OR_RETURN(const Frame answer, receive(FrameType::kMissing));
    ASSIGN_OR_RETURN(const auto missing, decode_missing(answer.payload, closure_.size()));
    const SendOrder order(closure_, index_of_, missing);
    begin_fetching(missing);
    for (const uint32_t index : order.after(order.now)) plan_to_send(index);  // now and later
    if (!missing.lane_address.empty() && progress_.bytes_total >= lanes_from_)
      lanes_.emplace(connection_, command_, missing.lane_address, kLanes);
    tell();
    RETURN_IF_ERROR(send_paths(order.now));
    while (is_fetching_) RETURN_IF_ERROR(take_answer());
    for (const uint32_t index : fetch_failed_) plan_to_send(index);
    RETURN_IF_ERROR(send_paths(order.after(fetch_failed_)));
    while (progress_.paths_done < progress_.paths_total) RETURN_IF_ERROR(take_answer());
    ASSIGN_OR_RETURN(const Frame end, receive(FrameType::kDone));
    ASSIGN_OR_RETURN(const auto done, decode_done(end.payload));
    if (done.paths != progress_.paths_total || done.bytes != progress_.bytes_total ||
        done.substituted_paths != substituted_.size() - fetch_failed_.size())
      return Error{ErrorKind::kInvalidInput, "the host counted another number of paths than were sent"};
    tell(true);
    CopyStats stats{.closure_paths = closure_.size(),
                    .copied_paths = done.paths,
                    .copied_bytes = done.bytes,
                    .delta_paths = paths_.delta_paths(),
                    .delta_bytes = paths_.delta_bytes(),
                    .substituted_paths = done.substituted_paths,
                    .substituted_bytes = done.substituted_bytes,
                    .wire_bytes = blocks_.sent().wire,
                    .substitution_error = substitution_error_};
    for (const auto& info : closure_) stats.closure_bytes += info.nar_size;
    return stats;
  }

  void begin_fetching(const transfer::Missing& missing) {
    substituted_ = missing.substituted;
    is_fetching_ = !substituted_.empty();
    progress_.substituted_paths = substituted_.size();
    substitution_error_ = missing.substitution_error;
    fetch_moved_at_ = sys::now();
  }

  // A download that failed may have been begun again, a few times.
  uint64_t most_to_fetch() const {
    uint64_t bytes = 1 << 20;
    for (const uint32_t index : substituted_) bytes += closure_[index].nar_size;
    return 8 * bytes;
  }

  void plan_to_send(uint32_t index) {
    progress_.bytes_total += closure_[index].nar_size;
    ++progress_.paths_total;
  }

  Result<void> send_paths(std::span<const uint32_t> indices) {
    for (const uint32_t index : indices) RETURN_IF_ERROR(send_path(closure_[index]));
    RETURN_IF_ERROR(check_sent(blocks_.flush()));
    RETURN_IF_ERROR(check_sent(lane_writer_.flush()));
    tell();
    return {};
  }

  Result<void> check_sent(Result<void> sent) {
    is_cut_ = !sent && sent.error().kind == ErrorKind::kFailed;
    return sent;
  }

  Result<void> send_path(const nix::PathInfo& info) {
    ++paths_sent_;
    const auto sent = paths_.send(info, bases_ == nullptr ? nullptr : bases_->find(info));
    if (sent) return {};
    if (blocks_.is_broken()) return check_sent(sent);
    if (!heard_failure_ && !is_cut_) static_cast<void>(hand_over());  // whole paths before it are kept
    if (!heard_failure_ && !is_cut_)
      static_cast<void>(frames_.send(FrameType::kError, encode_stop(sent.error())));
    heard_failure_ = heard_failure_ || !is_cut_;  // the reason is known; nothing more to listen for
    return sent.error();
  }

  Result<void> on_piece(uint64_t worth) {
    progress_.bytes_sent += worth;
    RETURN_IF_ERROR(take_answers());
    tell();
    return {};
  }

  Result<void> hand_over() {
    RETURN_IF_ERROR(blocks_.flush());
    return lane_writer_.flush();
  }

  void adopt_lanes() {
    if (!lanes_) return;
    for (const auto& lane : lanes_->take_ready()) lane_writer_.add(lane.number, lane.fd);
  }

  // What has come while we were sending.
  Result<void> take_answers() {
    adopt_lanes();
    for (;;) {
      ASSIGN_OR_RETURN(const auto frame, frames_.poll());
      if (!frame) return {};
      RETURN_IF_ERROR(take_word(*frame));
    }
  }

  // Waits for it.
  Result<void> take_answer() {
    ASSIGN_OR_RETURN(const Frame frame, receive_any());
    return take_word(frame);
  }

  // Of how far the host is.
  Result<void> take_word(const Frame& frame) {
    if (frame.type == FrameType::kFetched && is_fetching_) return take_fetched(frame.payload);
    ASSIGN_OR_RETURN(const Frame stored, check(frame, FrameType::kStored));
    return take_stored(stored.payload);
  }

  Result<void> take_fetched(std::string_view payload) {
    ASSIGN_OR_RETURN(const auto fetched, decode_fetched(payload, substituted_));
    if (fetched.bytes > progress_.substituted_bytes) fetch_moved_at_ = sys::now();
    // Words without end are no progress; the host itself gives a cache up earlier.
    if (!fetched.has_ended && sys::now() > fetch_moved_at_ + fetch_standstill_max_)
      return Error{ErrorKind::kTimedOut,
                   "the host goes on saying that it fetches, and nothing has come for " +
                       std::to_string(fetch_standstill_max_.count() / 1000) + " s"};
    if (fetched.bytes > most_to_fetch())
      return Error{ErrorKind::kInvalidInput, "the host says that it fetched more than there is"};
    progress_.substituted_bytes = fetched.bytes;
    if (fetched.has_ended) {
      is_fetching_ = false;
      fetch_failed_ = fetched.failed;
      progress_.substituted_paths -= fetch_failed_.size();
      substitution_error_ = fetched.why;
    }
    tell();
    return {};
  }

  Result<void> take_stored(std::string_view payload) {
    ASSIGN_OR_RETURN(const uint32_t count, decode_stored(payload));
    if (count == 0 || count > paths_sent_ - progress_.paths_done)
      return Error{ErrorKind::kInvalidInput, "the host stored a path that was not sent"};
    progress_.paths_done += count;
    tell();
    return {};
  }

  Result<Frame> check(const Frame& frame, FrameType wanted) {
    if (frame.type == FrameType::kError) {
      heard_failure_ = true;
      return decode_failure(frame.payload);
    }
    if (frame.type != wanted) return Error{ErrorKind::kInvalidInput, "the host sent a frame out of order"};
    return frame;
  }

  Result<Frame> receive(FrameType wanted) {
    ASSIGN_OR_RETURN(const Frame frame, receive_any());
    return check(frame, wanted);
  }

  Result<Frame> receive_any() {
    const auto frame = frames_.receive();
    if (!frame) {
      is_cut_ = frame.error().kind == ErrorKind::kFailed;
      return frame.error();
    }
    if (*frame) return **frame;
    is_cut_ = true;
    return Error{ErrorKind::kFailed, "the host ended the stream"};
  }

  // The error frame that the host sent before it closed, if it did.
  std::optional<Error> last_words() {
    while (is_cut_) {
      const auto frame = frames_.receive();
      if (!frame || !*frame) break;
      if ((*frame)->type == FrameType::kError) {
        heard_failure_ = true;
        is_cut_ = false;
        return decode_failure((*frame)->payload);
      }
    }
    return std::nullopt;
  }

  void tell(bool is_end = false) {
    const TimePoint now = sys::now();
    if (!on_progress_ || (!is_end && now < told_at_ + kTellInterval)) return;
    told_at_ = now;
    progress_.wire_bytes = blocks_.sent().wire;
    on_progress_(progress_);
  }

  Connection& connection_;
  const AgentCommand& command_;
  const uint64_t lanes_from_;
  const bool substitute_;
  const Millis fetch_standstill_max_;
  const std::vector<nix::PathInfo>& closure_;
  const Bases* const bases_;
  const ProgressSink& on_progress_;
  transfer::FrameStream frames_;
  std::optional<Lanes> lanes_;
  transfer::LaneWriter lane_writer_;  // over lanes_ and frames_
  transfer::BlockStream blocks_;      // over lane_writer_
  IndexOfPath index_of_;
  PathSender paths_;
  CopyProgress progress_;
  uint64_t paths_sent_ = 0;             // begun at least
  std::vector<uint32_t> substituted_;   // what the host fetches itself
  std::vector<uint32_t> fetch_failed_;  // of those
  bool is_fetching_ = false;
  std::string substitution_error_;
  TimePoint fetch_moved_at_{};
  TimePoint told_at_{};
  bool heard_failure_ = false;
  bool is_cut_ = false;  // the stream broke
};

std::string tail(std::string_view text) {
  constexpr size_t kKeep = 2000;
  while (text.ends_with('\n')) text.remove_suffix(1);
  return std::string(text.size() > kKeep ? text.substr(text.size() - kKeep) : text);
}

// Why the stream to the import broke: its exit, or the connection.
Error explain_cut(RemoteProcess& process, const Error& cut) {
  const auto exit = process.wait(sys::now() + kReasonTimeout);
  if (!exit) return {exit.error().kind, cut.message + ": " + exit.error().message};
  std::string reason =
      exit->signal.empty() ? "exit code " + std::to_string(exit->exit_code) : "signal " + exit->signal;
  if (!exit->standard_error.empty()) reason += ": " + tail(exit->standard_error);
  return {ErrorKind::kFailed, cut.message + ": the import on the host ended with " + reason};
}

// What a conversation that failed came to.
struct Failed {
  bool can_retry = false;  // it may fare better without bases
  uint64_t wire_bytes = 0;
};

// With an `import` that was just started.
Result<CopyStats> converse(std::unique_ptr<RemoteProcess> process, Connection& connection,
                           const AgentCommand& command, const DeploymentId& deployment, const StorePath& top,
                           const std::vector<nix::PathInfo>& closure, const Bases* bases,
                           const ProgressSink& on_progress, const CopyOptions& options, Failed& failed) {
  Sender sender(connection, command, process->io().get(), closure, bases, on_progress, options);
  const auto stats = sender.run(deployment, top);
  ::shutdown(process->io().get(), SHUT_WR);
  if (stats) return stats;
  const ErrorKind kind = stats.error().kind;
  failed.can_retry = sender.has_sent_deltas() && !sender.is_cut() && kind != ErrorKind::kNoSpace &&
                     kind != ErrorKind::kTimedOut && kind != ErrorKind::kRefused;
  failed.wire_bytes = sender.wire_bytes();
  return sender.is_cut() ? explain_cut(*process, stats.error()) : stats.error();
}

}  // namespace

Result<CopyStats> copy_closure(Connection& connection, const AgentCommand& command,
                               const DeploymentId& deployment, const StorePath& top, nix::Daemon& local,
                               const CopyOptions& options, const ProgressSink& on_progress) {
  const TimePoint deadline = sys::now() + options.idle_timeout;
  const auto start_import = [&] {
    return connection.exec(command("import"), sys::now() + options.idle_timeout);
  };
  // Its round trips pass while the closure is looked up here.
  auto started = std::async(std::launch::async, start_import);
  ASSIGN_OR_RETURN(auto closure, nix::query_closure(local, top, deadline));
  if (options.key != nullptr)
    for (auto& info : closure) options.key->add_to(info);
  ASSIGN_OR_RETURN(const auto bases, Bases::load(local, options.bases, deadline));
  Failed failed;
  const auto with_bases = [&](const Bases* wanted,
                              Result<std::unique_ptr<RemoteProcess>> import) -> Result<CopyStats> {
    if (!import) return import.error();
    return converse(*std::move(import), connection, command, deployment, top, closure, wanted, on_progress,
                    options, failed);
  };
  auto stats = with_bases(&bases, started.get());
  // What arrived stays. Were it not for the deltas, the same error comes again.
  if (!stats && std::exchange(failed.can_retry, false)) {
    const uint64_t in_vain = failed.wire_bytes;
    stats = with_bases(nullptr, start_import());
    if (stats) stats->wire_bytes += in_vain;
  }
  if (stats) return stats;
  return stats.error().with_context("copy");
}

}  // namespace flurry::copy
