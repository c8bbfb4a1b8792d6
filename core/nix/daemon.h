#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "core/nix/build.h"
#include "core/nix/path_info.h"
#include "core/nix/wire.h"
#include "core/sys/fd.h"

namespace flurry::nix {

class DaemonProcess;

// Gives the next piece of a NAR, valid until the next call; empty at its end.
using NarSource = std::function<Result<std::string_view>()>;

// Paths to be registered, in their order.
struct PathStream {
  // The next one; nothing after the last.
  std::function<Result<std::optional<PathInfo>>()> next;
  // The NAR of the path that `next` gave last.
  NarSource nar;
  // Whether the next call of either gives something without waiting; may be empty: it never does. What is
  // handed to the daemon goes out together as long as it does.
  std::function<bool()> is_ready;
};

enum class Trust { kUnknown, kTrusted, kNotTrusted };

// A client of the Nix daemon (the worker protocol; Nix: src/libstore/worker-protocol.hh, daemon.cc).
// Speaks to every daemon from protocol 1.21 (Nix 2.2) on: Nix to 2.35 and Lix to 2.95 as of 2026. We
// say 1.38 and ask for no features.
//
// One thread at a time. A call blocks until its deadline at most. Errors: what the daemon says about
// the operation is kFailed (kNoSpace for a full disk) and leaves the object usable; kTimedOut,
// kInvalidInput (the daemon broke the protocol) and a lost connection (kFailed) do not: every later
// call fails at once. kUnsupported: this daemon is too old for the call.
class Daemon {
 public:
  // The socket of the daemon if it accepts, else a `nix-daemon --stdio` of our own, which speaks the
  // same. NIX_DAEMON_SOCKET_PATH and NIX_STATE_DIR say where the socket is, as for Nix itself.
  static Result<Daemon> connect(TimePoint deadline);
  static Result<Daemon> connect_socket(const std::string& socket_path, TimePoint deadline);
  // Shakes hands over a stream that is already connected to a daemon.
  static Result<Daemon> open(sys::Fd stream, TimePoint deadline);

  Daemon(Daemon&&) noexcept;
  Daemon& operator=(Daemon&&) noexcept;
  ~Daemon();

  // "2.8.0", Lix: its own; before 2.7 the daemon does not say and it is a range, "2.2-2.3".
  const std::string& nix_version() const { return nix_version_; }
  // The minor number of the protocol that both sides speak: 34 for 1.34.
  unsigned protocol_minor() const { return minor_; }
  Trust trust() const { return trust_; }

  Result<bool> is_valid_path(const StorePath& path, TimePoint deadline);

  // Keeps these paths from the garbage collector for as long as this object lives, also those that are
  // not valid yet. One round trip for all.
  Result<void> add_temp_roots(std::span<const StorePath> paths, TimePoint deadline);

  // Nothing for a path that is not valid.
  Result<std::optional<PathInfo>> query_path_info(const StorePath& path, TimePoint deadline);
  // In the order of `paths`; the requests are pipelined.
  Result<std::vector<std::optional<PathInfo>>> query_path_infos(std::span<const StorePath> paths,
                                                                TimePoint deadline);
  // Those of `paths` that are valid. Asks no substituter.
  Result<std::vector<StorePath>> query_valid_paths(std::span<const StorePath> paths, TimePoint deadline);

  // Registers `info.path` with the NAR that `source` gives. The daemon unpacks while it reads, checks
  // hash and size, and registers all or nothing; a path that is valid already stays as it is. Signatures
  // are not required of a trusted client. When `source` fails, its error is the result, nothing is
  // registered and the object stays usable. No single wait is longer than `idle_timeout`.
  Result<void> add_to_store_nar(const PathInfo& info, const NarSource& source, Millis idle_timeout);

  // As add_to_store_nar for each of `paths`, in that order, without waiting for the daemon's word on one
  // before the next is sent. `on_stored` hears how many more are registered, counted in that order and up to
  // the first that isn't: the failed path is the one after those. After a failure, also one of `paths`
  // itself, no further path is asked for, and those that were sent whole are still waited for: what arrived
  // is registered. Returns the first error in the order of the paths.
  using StoredSink = std::function<void(size_t count)>;
  Result<void> add_paths(const PathStream& paths, const StoredSink& on_stored, Millis idle_timeout);

  // Holds for the builds that this object starts.
  Result<void> set_options(const BuildOptions& options, TimePoint deadline);
  // What building `targets` ("/nix/store/….drv!out,dev", "….drv!*", or an output path) would take.
  Result<MissingPaths> query_missing(std::span<const std::string> targets, TimePoint deadline);
  // Builds `targets`, as above, and tells of each how it went: a failed build is a value. `on_event` may
  // be empty; it is called from within this call.
  Result<std::vector<BuildResult>> build_paths_with_results(std::span<const std::string> targets,
                                                            const BuildEventSink& on_event,
                                                            TimePoint deadline);
  // Has the daemon fetch these paths from its substituters, many at a time, and goes on after a failure: then
  // the first error is the result. What is valid after that tells query_valid_paths. `on_progress` hears the
  // bytes so far. kTimedOut when nothing got further for `idle_timeout`, however often the daemon tries.
  Result<void> fetch_paths(std::span<const StorePath> paths, const std::function<void(uint64_t)>& on_progress,
                           Millis idle_timeout);
  // Any thread, while the object lives and isn't moved: the call that waits now, and each later one, fails.
  void hang_up();
  // Output name to path; nothing for an output whose path is not known before the build.
  Result<std::map<std::string, std::optional<StorePath>>> query_derivation_output_map(
      const StorePath& derivation, TimePoint deadline);

 private:
  Daemon(sys::Fd stream, std::unique_ptr<DaemonProcess> process);

  static Result<Daemon> spawn(TimePoint deadline);
  Result<void> shake_hands(TimePoint deadline);
  Result<void> exchange_features();
  Result<void> read_greeting();

  // daemon_messages.cc
  struct Message {
    enum class Kind { kOther, kLast, kError } kind = Kind::kOther;
    Error error;
  };
  Result<Message> read_message(BuildEvents* events);
  Result<void> read_activity(uint64_t type, BuildEvents* events);
  Result<std::string> read_error();
  Result<std::vector<BuildEvents::Field>> read_fields();
  // Reads messages until the operation's result follows (nothing) or the daemon refused it (the error).
  Result<std::optional<Error>> await_result(BuildEvents* events);

  // An operation runs from begin() to done(); one that returns in between leaves the object unusable.
  Result<void> begin(TimePoint deadline);
  void done() { is_in_step_ = true; }
  // begin(), sends, awaits the result. On success the caller reads it and calls done().
  Result<void> call(const std::string& request, TimePoint deadline, BuildEvents* events = nullptr);
  Result<void> require_minor(unsigned minor, const char* what) const;

  Result<std::optional<PathInfo>> read_path_info(const StorePath& path);
  Result<BuildResult> read_build_result();

  // Paths that were begun and what became of them. daemon_import.cc
  struct Imports;
  Result<void> send_nar(const PathStream& paths, Imports& imports);
  Result<void> send_gathered(Imports& imports);
  Result<void> take_import_answers(Imports& imports, size_t in_flight_max);

  std::unique_ptr<DaemonProcess> process_;  // only when we started it
  sys::Fd fd_;
  WireStream stream_;
  unsigned minor_ = 0;
  std::string nix_version_;
  Trust trust_ = Trust::kUnknown;
  bool is_in_step_ = true;
};

}  // namespace flurry::nix
