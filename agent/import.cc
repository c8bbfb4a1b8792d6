#include "agent/import.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <optional>
#include <unordered_set>
#include <utility>

#include "agent/arrivals.h"
#include "agent/import_base.h"
#include "agent/import_convert.h"
#include "agent/import_lanes.h"
#include "agent/import_store.h"
#include "agent/substitution.h"
#include "core/nix/nar.h"
#include "core/sys/clock.h"
#include "core/transfer/frame_stream.h"

namespace flurry::agent {
namespace {

using transfer::Frame;
using transfer::FrameType;

// How often the controller hears how far the fetching is, at least.
constexpr Millis kSignOfLife{2000};
// How much of a delta is restored at a time.
constexpr size_t kRestored = 64 << 10;
// How many paths are told as stored at once, unless that took too long.
constexpr size_t kStoredWords = 64;
constexpr Millis kStoredInterval{50};

Error unexpected() { return {ErrorKind::kInvalidInput, "the controller sent a frame out of order"}; }

// One import, from the first frame to the last.
class Import {
 public:
  Import(int in_fd, int out_fd, const ImportOptions& options)
      : options_(options), in_fd_(in_fd), frames_(in_fd, out_fd, options.idle_timeout) {}

  Result<ImportStats> run() {
    const auto stats = run_steps();
    if (stats) return stats;
    // The controller may be gone, which is then the error already.
    static_cast<void>(frames_.send(FrameType::kError, encode_failure({stats.error(), failed_index_})));
    return stats;
  }

 private:
  Result<ImportStats> run_steps() {
    ASSIGN_OR_RETURN(const transfer::Hello hello, receive_closure());
    ASSIGN_OR_RETURN(policy_, load_policy(options_.policy_file, options_.nix_settings));
    ASSIGN_OR_RETURN(nix::Daemon daemon, options_.connect(deadline()));
    ASSIGN_OR_RETURN(transfer::Missing missing, find_missing(daemon));
    if (hello.only_question) return answer(hello, std::move(missing));
    missing.lane_address = open_lanes();
    arrivals_.emplace(closure_, missing.indices);
    if (hello.substitute) find_substitutes(missing);
    RETURN_IF_ERROR(frames_.send(FrameType::kMissing, encode_missing(missing)));
    RETURN_IF_ERROR(receive_paths(daemon));
    const ImportStats stats{arrivals_->received_paths(), arrivals_->received_bytes(),
                            arrivals_->fetched_paths(), arrivals_->fetched_bytes()};
    RETURN_IF_ERROR(finish(daemon, hello, stats));
    return stats;
  }

  Result<ImportStats> answer(const transfer::Hello& hello, transfer::Missing missing) {
    if (hello.substitute && !missing.indices.empty()) {
      Substitution substitution(options_.connect, closure_, options_.idle_timeout);
      if (auto found = substitution.ask(missing.indices, sys::now() + options_.substituters_timeout))
        missing.substituted = *std::move(found);
    }
    RETURN_IF_ERROR(frames_.send(FrameType::kMissing, encode_missing(missing)));
    return ImportStats{};
  }

  // An error only means that all comes over the stream.
  void find_substitutes(transfer::Missing& missing) {
    if (missing.indices.empty()) return;
    substitution_.emplace(options_.connect, closure_, options_.idle_timeout);
    auto found = substitution_->ask(missing.indices, sys::now() + options_.substituters_timeout);
    if (found && found->empty()) return substitution_.reset();
    const auto started = found ? substitution_->start(*found) : found.error();
    if (started) {
      missing.substituted = *std::move(found);
      return arrivals_->fetch(missing.substituted);
    }
    missing.substitution_error = started.error().message;
    substitution_.reset();
  }

  // Where there can be none, one channel has to do.
  std::string open_lanes() {
    auto lanes = ImportLanes::listen(options_.run_dir);
    if (!lanes) return "";
    lanes_.emplace(*std::move(lanes));
    frames_.set_lanes([this](uint8_t number, TimePoint deadline) { return lanes_->lane(number, deadline); });
    return lanes_->address();
  }

  TimePoint deadline() const { return sys::now() + options_.idle_timeout; }

  // Nothing once there is no more to fetch, or at the end of the stream. The controller may wait for the end
  // of the fetching, so its silence is no trouble, and it hears from us.
  Result<std::optional<Frame>> receive_while_fetching() {
    while (substitution_) {
      RETURN_IF_ERROR(tell_fetched());
      if (!substitution_) break;
      ASSIGN_OR_RETURN(const auto frame, frames_.poll());
      if (frame) return frame;
      pollfd ready[] = {{in_fd_, POLLIN | POLLRDHUP, 0}, {substitution_->end_fd(), POLLIN, 0}};
      if (::poll(ready, 2, kSignOfLife.count()) < 0 && errno != EINTR) return sys::errno_error("poll", errno);
      if ((ready[0].revents & (POLLHUP | POLLRDHUP | POLLERR)) != 0) return frames_.receive();
    }
    return std::optional<Frame>();
  }

  Result<void> tell_fetched() {
    const auto fetched = substitution_->look();
    if (!fetched.has_ended && sys::now() < next_sign_) return {};
    next_sign_ = sys::now() + kSignOfLife;
    if (fetched.has_ended) {
      arrivals_->end_fetch(fetched.failed);
      substitution_.reset();
    }
    return frames_.send(FrameType::kFetched, encode_fetched(fetched));
  }

  // All that was to come before its end is here.
  Result<void> await_fetched() {
    ASSIGN_OR_RETURN(const auto frame, receive_while_fetching());
    if (frame && frame->type == FrameType::kError) return decode_stop(frame->payload);
    if (frame) return unexpected();
    if (substitution_) return Error{ErrorKind::kFailed, "the controller ended the stream too early"};
    return {};
  }

  // The next frame, which must be of `type`.
  Result<Frame> expect(FrameType type) {
    ASSIGN_OR_RETURN(auto frame, receive_while_fetching());
    if (!frame) {
      ASSIGN_OR_RETURN(frame, frames_.receive());
    }
    if (!frame) return Error{ErrorKind::kFailed, "the controller ended the stream too early"};
    if (frame->type == FrameType::kError) return decode_stop(frame->payload);
    if (frame->type != type) return unexpected();
    return *frame;
  }

  Result<transfer::Hello> receive_closure() {
    ASSIGN_OR_RETURN(const Frame first, expect(FrameType::kHello));
    ASSIGN_OR_RETURN(transfer::Hello hello, decode_hello(first.payload));
    while (closure_.size() < hello.path_count) {
      ASSIGN_OR_RETURN(const Frame frame, expect(FrameType::kPaths));
      RETURN_IF_ERROR(decode_paths(frame.payload, hello.path_count, closure_));
    }
    std::unordered_set<std::string_view> seen;
    for (const auto& entry : closure_)
      if (!seen.insert(entry.path.str()).second)
        return Error{ErrorKind::kInvalidInput, entry.path.str() + " is twice in the closure"};
    if (!seen.contains(hello.top.str()))
      return Error{ErrorKind::kInvalidInput, hello.top.str() + " is not in its own closure"};
    return hello;
  }

  // Roots first, then the question: what is valid after that cannot be collected before the end.
  Result<transfer::Missing> find_missing(nix::Daemon& daemon) {
    std::vector<StorePath> paths;
    paths.reserve(closure_.size());
    for (const auto& entry : closure_) paths.push_back(entry.path);
    RETURN_IF_ERROR(daemon.add_temp_roots(paths, deadline()));
    ASSIGN_OR_RETURN(const auto valid, daemon.query_valid_paths(paths, deadline()));
    std::unordered_set<std::string_view> have;
    for (const auto& path : valid) have.insert(path.str());
    transfer::Missing missing;
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < closure_.size(); ++i) {
      if (have.contains(closure_[i].path.str())) continue;
      missing.indices.push_back(i);
      bytes += closure_[i].nar_size;
    }
    ASSIGN_OR_RETURN(missing.free_bytes, free_bytes(options_.store_dir));
    missing.needed_bytes = missing.indices.empty() ? 0 : bytes + options_.space_margin_bytes;
    if (missing.free_bytes < missing.needed_bytes)
      return Error{ErrorKind::kNoSpace,
                   options_.store_dir + " has " + std::to_string(missing.free_bytes >> 20) +
                       " MiB free, needed are " + std::to_string((missing.needed_bytes >> 20) + 1) + " MiB"};
    return missing;
  }

  // The daemon registers one path while the next ones come in.
  Result<void> receive_paths(nix::Daemon& daemon) {
    const nix::PathStream paths{.next = [this] { return next_path(); },
                                .nar = [this] { return next_of_nar(); },
                                .is_ready = [this] { return frames_.has_frame() && !substitution_; }};
    const auto stored = daemon.add_paths(
        paths, [this](size_t count) { stored_ += count; }, options_.idle_timeout);
    const auto told = tell_stored(true);
    if (stored) return told;
    failed_index_ = arrivals_->failed_after(stored_);
    if (failed_index_ < 0) return stored.error();
    return stored.error().with_context(closure_[static_cast<size_t>(failed_index_)].path.str());
  }

  Result<std::optional<nix::PathInfo>> next_path() {
    RETURN_IF_ERROR(skip_rest());
    RETURN_IF_ERROR(tell_stored());
    if (!arrivals_->awaits_stream() && arrivals_->is_fetching()) RETURN_IF_ERROR(await_fetched());
    if (!arrivals_->awaits_stream()) return std::optional<nix::PathInfo>();
    ASSIGN_OR_RETURN(const Frame frame, expect(FrameType::kPathInfo));
    ASSIGN_OR_RETURN(IncomingPath incoming, decode_path_info(frame.payload, closure_));
    RETURN_IF_ERROR(arrivals_->begin(incoming));
    RETURN_IF_ERROR(admit(policy_, incoming.info));
    parser_.emplace(incoming.info.nar_size);
    if (incoming.base) RETURN_IF_ERROR(begin_delta(*incoming.base, incoming.info));
    return std::optional(std::move(incoming.info));
  }

  // The other connection is busy with what is being registered.
  Result<void> begin_delta(const IncomingBase& base, const nix::PathInfo& info) {
    if (!bases_) {
      ASSIGN_OR_RETURN(bases_, options_.connect(deadline()));
    }
    delta_has_ended_ = false;
    ASSIGN_OR_RETURN(delta_, open_base(
                                 *bases_, options_.store_dir, base.path, base.nar_hash, info,
                                 [this] { return next_piece(); }, deadline()));
    return {};
  }

  // Of the delta; empty at its end.
  Result<std::string_view> next_piece() {
    if (delta_has_ended_) return std::string_view();
    RETURN_IF_ERROR(tell_stored());
    ASSIGN_OR_RETURN(const Frame frame, expect(FrameType::kNarChunk));
    delta_has_ended_ = frame.payload.empty();
    return frame.payload;
  }

  // The next piece of the NAR of the path that next_path() gave last.
  Result<std::string_view> next_of_nar() {
    if (delta_) return read_delta();
    if (parser_->is_done()) return std::string_view();
    return next_chunk(*parser_);
  }

  Result<std::string_view> read_delta() {
    restored_.resize(kRestored);
    size_t filled = 0;
    while (filled < restored_.size()) {
      ASSIGN_OR_RETURN(const size_t n, delta_->read(std::span(restored_).subspan(filled)));
      if (n == 0) break;
      filled += n;
    }
    const std::string_view piece(restored_.data(), filled);
    if (piece.empty()) return piece;
    ASSIGN_OR_RETURN(const size_t used, parser_->feed(piece));
    if (used != filled) return Error{ErrorKind::kInvalidInput, "bytes after the end of the NAR"};
    return piece;
  }

  // Had another process registered the path meanwhile, the daemon may not have read to the end.
  Result<void> skip_rest() {
    if (std::exchange(delta_, std::nullopt)) {
      while (!delta_has_ended_) RETURN_IF_ERROR(next_piece());
      return {};
    }
    while (parser_ && !parser_->is_done()) RETURN_IF_ERROR(next_chunk(*parser_));
    return {};
  }

  // Only while no chunk is held: sending moves the bytes that it points to. A word on each of many small
  // paths would cost more than they do.
  Result<void> tell_stored(bool is_end = false) {
    const size_t count = stored_ - told_;
    if (count == 0) return {};
    const bool is_early = count < kStoredWords && sys::now() < stored_told_at_ + kStoredInterval;
    if (is_early && frames_.has_frame() && !is_end) return {};
    told_ = stored_;
    stored_told_at_ = sys::now();
    return frames_.send(FrameType::kStored, encode_stored(static_cast<uint32_t>(count)));
  }

  Result<std::string_view> next_chunk(nix::NarParser& parser) {
    RETURN_IF_ERROR(tell_stored());
    ASSIGN_OR_RETURN(const Frame frame, expect(FrameType::kNarChunk));
    if (frame.payload.empty()) return unexpected();
    ASSIGN_OR_RETURN(const size_t used, parser.feed(frame.payload));
    if (used != frame.payload.size())
      return Error{ErrorKind::kInvalidInput, "bytes after the end of the NAR"};
    return frame.payload;
  }

  Result<void> finish(nix::Daemon& daemon, const transfer::Hello& hello, const ImportStats& stats) {
    ASSIGN_OR_RETURN(const bool is_valid, daemon.is_valid_path(hello.top, deadline()));
    if (!is_valid) return Error{ErrorKind::kFailed, hello.top.str() + " is not valid after the copy"};
    RETURN_IF_ERROR(hold_closure(options_.state_dir, hello.deployment, hello.top));
    RETURN_IF_ERROR(sync_store(options_.store_dir));
    return frames_.send(FrameType::kDone, encode_done({stats.paths, stats.bytes, stats.substituted_paths,
                                                       stats.substituted_bytes}));
  }

  const ImportOptions& options_;
  const int in_fd_;
  transfer::FrameStream frames_;
  std::optional<ImportLanes> lanes_;
  ImportPolicy policy_;
  std::vector<transfer::PathEntry> closure_;
  std::optional<Arrivals> arrivals_;
  std::optional<Substitution> substitution_;  // while something is fetched
  TimePoint next_sign_{};
  size_t stored_ = 0;  // of those that began to come
  size_t told_ = 0;    // of stored_
  TimePoint stored_told_at_{};
  std::optional<nix::NarParser> parser_;     // of the path that comes in
  std::optional<nix::Daemon> bases_;         // asked about bases, which it holds
  std::optional<delta::DeltaReader> delta_;  // of the path that comes in, where it is one
  bool delta_has_ended_ = true;
  std::vector<char> restored_;  // of the delta, the piece that was made last
  int64_t failed_index_ = -1;
};

}  // namespace

Result<ImportStats> run_import(int in_fd, int out_fd, const ImportOptions& options) {
  return Import(in_fd, out_fd, options).run();
}

}  // namespace flurry::agent
