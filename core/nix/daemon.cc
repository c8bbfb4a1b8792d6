#include "core/nix/daemon.h"

#include <algorithm>

#include "core/nix/daemon_process.h"
#include "core/nix/operations.h"

namespace flurry::nix {
namespace {

constexpr uint64_t kClientMagic = 0x6e697863;  // WORKER_MAGIC_1
constexpr uint64_t kServerMagic = 0x6478696f;  // WORKER_MAGIC_2
constexpr unsigned kMajor = 1;
constexpr unsigned kMinorOurs = 38;
constexpr unsigned kMinorMin = 21;
constexpr size_t kVersionTextMax = 256;
constexpr size_t kFeaturesMax = 1024;

// Daemons before protocol 1.33 don't say their version (Nix's release tags).
const char* version_range(unsigned minor) {
  if (minor < 21) return "older than 2.2";
  if (minor < 23) return "2.2-2.3";
  if (minor < 33) return "2.4-2.6";
  return "of unknown version";
}

}  // namespace

Daemon::Daemon(sys::Fd stream, std::unique_ptr<DaemonProcess> process)
    : process_(std::move(process)), fd_(std::move(stream)), stream_(fd_.get()) {}
Daemon::Daemon(Daemon&&) noexcept = default;
Daemon& Daemon::operator=(Daemon&& other) noexcept {
  if (this == &other) return *this;
  fd_.reset();  // first: our own daemon ends when its stream does
  process_ = std::move(other.process_);
  fd_ = std::move(other.fd_);
  stream_ = std::move(other.stream_);
  minor_ = other.minor_;
  nix_version_ = std::move(other.nix_version_);
  trust_ = other.trust_;
  is_in_step_ = other.is_in_step_;
  return *this;
}
Daemon::~Daemon() { fd_.reset(); }

Result<Daemon> Daemon::open(sys::Fd stream, TimePoint deadline) {
  Daemon daemon(std::move(stream), nullptr);
  RETURN_IF_ERROR(daemon.shake_hands(deadline));
  return daemon;
}

Result<void> Daemon::shake_hands(TimePoint deadline) {
  RETURN_IF_ERROR(begin(deadline));
  std::string hello;
  put_u64(hello, kClientMagic);
  put_u64(hello, kMajor << 8 | kMinorOurs);
  RETURN_IF_ERROR(stream_.send(hello));
  ASSIGN_OR_RETURN(const uint64_t magic, stream_.u64());
  if (magic != kServerMagic) return Error{ErrorKind::kInvalidInput, "the other side is not a Nix daemon"};
  ASSIGN_OR_RETURN(const uint64_t version, stream_.u64_up_to(0xffff, "protocol version"));
  minor_ = std::min(kMinorOurs, static_cast<unsigned>(version & 0xff));
  nix_version_ = version_range(minor_);
  if (version >> 8 != kMajor || minor_ < kMinorMin)
    return Error{ErrorKind::kUnsupported, "the Nix daemon speaks protocol " + std::to_string(version >> 8) +
                                              "." + std::to_string(version & 0xff) +
                                              "; needed is 1.21 (Nix 2.2) or a later 1.x"};
  if (minor_ >= 38) RETURN_IF_ERROR(exchange_features());
  RETURN_IF_ERROR(read_greeting());
  done();
  return {};
}

// Features change the encoding of messages; we want none, and what the daemon can do does not matter.
Result<void> Daemon::exchange_features() {
  std::string none;
  put_u64(none, 0);
  RETURN_IF_ERROR(stream_.send(none));
  RETURN_IF_ERROR(stream_.strs(kFeaturesMax, kVersionTextMax));  // theirs
  return {};
}

Result<void> Daemon::read_greeting() {
  std::string obsolete;
  put_u64(obsolete, 0);  // CPU affinity
  put_u64(obsolete, 0);  // reserve space
  RETURN_IF_ERROR(stream_.send(obsolete));
  if (minor_ >= 33) {
    ASSIGN_OR_RETURN(nix_version_, stream_.str(kVersionTextMax));
  }
  if (minor_ >= 35) {
    ASSIGN_OR_RETURN(const uint64_t trust, stream_.u64_up_to(2, "trust flag"));
    trust_ = static_cast<Trust>(trust);
  }
  ASSIGN_OR_RETURN(const auto refused, await_result(nullptr));
  if (refused) return *refused;
  return {};
}

Result<void> Daemon::begin(TimePoint deadline) {
  if (!is_in_step_)
    return Error{ErrorKind::kFailed, "the connection to the Nix daemon was given up after an earlier error"};
  is_in_step_ = false;
  stream_.set_deadline(deadline);
  return {};
}

Result<void> Daemon::call(const std::string& request, TimePoint deadline, BuildEvents* events) {
  RETURN_IF_ERROR(begin(deadline));
  RETURN_IF_ERROR(stream_.send(request));
  ASSIGN_OR_RETURN(const auto refused, await_result(events));
  if (!refused) return {};
  done();
  return *refused;
}

Result<void> Daemon::require_minor(unsigned minor, const char* what) const {
  if (minor_ >= minor) return {};
  return Error{ErrorKind::kUnsupported, "Nix " + nix_version_ + " (protocol 1." + std::to_string(minor_) +
                                            ") is too old for " + what + ", which needs protocol 1." +
                                            std::to_string(minor)};
}

}  // namespace flurry::nix
