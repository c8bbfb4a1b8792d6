// Fetching from substituters.
#include <sys/socket.h>

#include "core/nix/daemon.h"
#include "core/nix/operations.h"
#include "core/sys/clock.h"

namespace flurry::nix {
namespace {

constexpr uint64_t kModeNormal = 0;
constexpr size_t kWordsMax = 2000;

}  // namespace

void Daemon::hang_up() { ::shutdown(fd_.get(), SHUT_RDWR); }

// BuildPaths, which all daemons have: a plain path without a derivation can only be fetched.
Result<void> Daemon::fetch_paths(std::span<const StorePath> paths,
                                 const std::function<void(uint64_t)>& on_progress, Millis idle_timeout) {
  RETURN_IF_ERROR(begin(sys::now() + idle_timeout));
  std::string request;
  put_u64(request, kOpBuildPaths);
  put_paths(request, paths);
  put_u64(request, kModeNormal);
  RETURN_IF_ERROR(stream_.send(request));
  // The daemon's words about one path come before its summary, and say more.
  std::string first_words;
  BuildEvents events([&](const BuildEvent& event) {
    if (first_words.empty() && event.text.find("error:") != std::string::npos)
      first_words = event.text.substr(0, kWordsMax);
  });
  for (uint64_t seen = 0;;) {
    ASSIGN_OR_RETURN(const Message message, read_message(&events));
    if (message.kind == Message::Kind::kError) {
      done();
      if (first_words.empty()) return message.error;
      return Error{message.error.kind, "nix daemon: " + first_words};
    }
    if (message.kind == Message::Kind::kLast) break;
    if (events.steps() == seen) continue;
    seen = events.steps();
    stream_.set_deadline(sys::now() + idle_timeout);
    if (on_progress) on_progress(events.copied_bytes());
  }
  RETURN_IF_ERROR(stream_.u64());  // always 1
  done();
  return {};
}

}  // namespace flurry::nix
