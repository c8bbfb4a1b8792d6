// What the daemon says while it works on an operation.
#include "core/nix/ansi.h"
#include "core/nix/daemon.h"

namespace flurry::nix {
namespace {

// Nix: STDERR_* in src/libstore/worker-protocol.hh.
constexpr uint64_t kStderrNext = 0x6f6c6d67;
constexpr uint64_t kStderrLast = 0x616c7473;
constexpr uint64_t kStderrError = 0x63787470;
constexpr uint64_t kStderrStartActivity = 0x53545254;
constexpr uint64_t kStderrStopActivity = 0x53544f50;
constexpr uint64_t kStderrResult = 0x52534c54;

constexpr uint64_t kFieldsMax = 1024;
constexpr uint64_t kTracesMax = 65536;
constexpr uint64_t kFieldIsNumber = 0;
constexpr uint64_t kFieldIsText = 1;
constexpr size_t kTracesKept = 20;

bool is_disk_full(std::string_view message) {
  for (const char* sign : {"No space left on device", "Disk quota exceeded", "disk is full"})
    if (message.find(sign) != std::string_view::npos) return true;
  return false;
}

}  // namespace

Result<std::vector<BuildEvents::Field>> Daemon::read_fields() {
  ASSIGN_OR_RETURN(const uint64_t count, stream_.u64_up_to(kFieldsMax, "number of fields"));
  std::vector<BuildEvents::Field> fields;
  while (fields.size() < count) {
    ASSIGN_OR_RETURN(const uint64_t type, stream_.u64_up_to(kFieldIsText, "type of a field"));
    if (type == kFieldIsNumber) {
      ASSIGN_OR_RETURN(const uint64_t number, stream_.u64());
      fields.emplace_back(number);
    } else {
      ASSIGN_OR_RETURN(std::string text, stream_.str(kMessageTextMax));
      fields.emplace_back(std::move(text));
    }
  }
  return fields;
}

Result<std::string> Daemon::read_error() {
  std::string message;
  if (minor_ >= 26) {
    ASSIGN_OR_RETURN(const auto type, stream_.str(kPathTextMax));
    RETURN_IF_ERROR(stream_.u64());              // level
    RETURN_IF_ERROR(stream_.str(kPathTextMax));  // name
    ASSIGN_OR_RETURN(message, stream_.str(kMessageTextMax));
    RETURN_IF_ERROR(stream_.u64_up_to(0, "position of an error"));  // position
    ASSIGN_OR_RETURN(const auto traces, stream_.u64_up_to(kTracesMax, "number of traces"));
    for (uint64_t i = 0; i < traces; ++i) {
      RETURN_IF_ERROR(stream_.u64_up_to(0, "position of a trace"));  // trace position
      ASSIGN_OR_RETURN(const auto trace, stream_.str(kMessageTextMax));
      if (i < kTracesKept) message += "\n" + trace;
    }
  } else {
    ASSIGN_OR_RETURN(message, stream_.str(kMessageTextMax));
    RETURN_IF_ERROR(stream_.u64());  // status
  }
  return strip_ansi(message);
}

Result<void> Daemon::read_activity(uint64_t type, BuildEvents* events) {
  ASSIGN_OR_RETURN(const uint64_t id, stream_.u64());
  if (type == kStderrStopActivity) {
    if (events) events->stop(id);
    return {};
  }
  if (type == kStderrResult) {
    ASSIGN_OR_RETURN(const uint64_t result, stream_.u64());
    ASSIGN_OR_RETURN(const auto fields, read_fields());
    if (events) events->result(id, result, fields);
    return {};
  }
  RETURN_IF_ERROR(stream_.u64());  // level
  ASSIGN_OR_RETURN(const uint64_t activity, stream_.u64());
  ASSIGN_OR_RETURN(const auto text, stream_.str(kMessageTextMax));
  ASSIGN_OR_RETURN(const auto fields, read_fields());
  RETURN_IF_ERROR(stream_.u64());  // parent
  if (events) events->start(id, activity, fields);
  return {};
}

Result<Daemon::Message> Daemon::read_message(BuildEvents* events) {
  ASSIGN_OR_RETURN(const uint64_t type, stream_.u64());
  Message message;
  if (type == kStderrLast) {
    message.kind = Message::Kind::kLast;
  } else if (type == kStderrError) {
    ASSIGN_OR_RETURN(const std::string text, read_error());
    message.error = {is_disk_full(text) ? ErrorKind::kNoSpace : ErrorKind::kFailed, "nix daemon: " + text};
    message.kind = Message::Kind::kError;
  } else if (type == kStderrNext) {
    ASSIGN_OR_RETURN(const auto text, stream_.str(kMessageTextMax));
    if (events) events->message(text);
  } else if (type == kStderrStartActivity || type == kStderrStopActivity || type == kStderrResult) {
    RETURN_IF_ERROR(read_activity(type, events));
  } else {
    // STDERR_READ and STDERR_WRITE belong to operations that we don't use.
    return Error{ErrorKind::kInvalidInput,
                 "the Nix daemon sent an unexpected message of type " + std::to_string(type)};
  }
  return message;
}

Result<std::optional<Error>> Daemon::await_result(BuildEvents* events) {
  for (;;) {
    ASSIGN_OR_RETURN(Message message, read_message(events));
    if (message.kind == Message::Kind::kLast) return std::optional<Error>();
    if (message.kind == Message::Kind::kError) return std::optional<Error>(std::move(message.error));
  }
}

}  // namespace flurry::nix
