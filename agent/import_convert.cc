#include "agent/import_convert.h"

#include "flurry/v1/copy.pb.h"

namespace flurry::agent {
namespace {

constexpr int kSignaturesMax = 1024;
constexpr size_t kWhyMax = 4096;
constexpr size_t kErrorTextMax = 256 << 10;

Error invalid(const std::string& what) { return {ErrorKind::kInvalidInput, what}; }

template <typename Message>
Result<Message> parse(std::string_view payload, const char* name) {
  Message message;
  if (!message.ParseFromArray(payload.data(), static_cast<int>(payload.size())))
    return invalid(std::string("malformed ") + name);
  return message;
}

v1::CopyErrorKind wire_kind(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::kInvalidInput:
      return v1::COPY_ERROR_KIND_INVALID_INPUT;
    case ErrorKind::kUnreachable:
      return v1::COPY_ERROR_KIND_UNREACHABLE;
    case ErrorKind::kRefused:
      return v1::COPY_ERROR_KIND_REFUSED;
    case ErrorKind::kTimedOut:
      return v1::COPY_ERROR_KIND_TIMED_OUT;
    case ErrorKind::kFailed:
      return v1::COPY_ERROR_KIND_FAILED;
    case ErrorKind::kNoSpace:
      return v1::COPY_ERROR_KIND_NO_SPACE;
    case ErrorKind::kExhausted:
      return v1::COPY_ERROR_KIND_EXHAUSTED;
    case ErrorKind::kUnsupported:
      return v1::COPY_ERROR_KIND_UNSUPPORTED;
    case ErrorKind::kCancelled:
      return v1::COPY_ERROR_KIND_CANCELLED;
  }
  return v1::COPY_ERROR_KIND_FAILED;
}

// A protobuf string must be UTF-8; an error text from elsewhere may hold anything.
std::string ascii(std::string_view text) {
  std::string out(text.substr(0, kErrorTextMax));
  for (char& c : out)
    if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  return out;
}

bool is_sha256(const std::string& hex) {
  return hex.size() == 64 && hex.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

Result<transfer::Hello> decode_hello(std::string_view payload) {
  ASSIGN_OR_RETURN(const auto message, parse<v1::CopyHello>(payload, "CopyHello"));
  if (message.protocol_version() != transfer::kCopyProtocolVersion)
    return Error{ErrorKind::kUnsupported, "the controller speaks copy protocol " +
                                              std::to_string(message.protocol_version()) + ", this agent " +
                                              std::to_string(transfer::kCopyProtocolVersion)};
  if (message.path_count() == 0 || message.path_count() > transfer::kClosurePathsMax)
    return invalid("a closure of " + std::to_string(message.path_count()) + " paths");
  ASSIGN_OR_RETURN(DeploymentId deployment, DeploymentId::parse(message.deployment_id()));
  ASSIGN_OR_RETURN(StorePath top, StorePath::parse(message.top_path()));
  return transfer::Hello{message.protocol_version(), std::move(deployment), std::move(top),
                         message.path_count(),       message.substitute(),  message.only_question()};
}

Result<void> decode_paths(std::string_view payload, size_t count_max,
                          std::vector<transfer::PathEntry>& closure) {
  ASSIGN_OR_RETURN(const auto message, parse<v1::CopyPaths>(payload, "CopyPaths"));
  const auto count = static_cast<size_t>(message.paths_size());
  if (count == 0 || count > count_max - closure.size())
    return invalid("another number of paths than announced");
  for (const auto& entry : message.paths()) {
    ASSIGN_OR_RETURN(StorePath path, StorePath::parse(entry.path()));
    if (entry.nar_bytes() > transfer::kNarSizeMax)
      return invalid(path.str() + " has a NAR of " + std::to_string(entry.nar_bytes()) + " bytes");
    closure.push_back({std::move(path), entry.nar_bytes()});
  }
  return {};
}

Result<IncomingPath> decode_path_info(std::string_view payload,
                                      const std::vector<transfer::PathEntry>& closure) {
  ASSIGN_OR_RETURN(const auto message, parse<v1::CopyPathInfo>(payload, "CopyPathInfo"));
  const uint32_t index = message.path_index();
  if (index >= closure.size()) return invalid("a path that is not in the closure");
  nix::PathInfo info{.path = closure[index].path};
  info.nar_size = closure[index].nar_size;
  info.nar_hash = message.nar_hash();
  if (!is_sha256(info.nar_hash)) return invalid(info.path.str() + ": bad NAR hash");
  for (const uint32_t reference : message.reference_index()) {
    if (reference > index) return invalid(info.path.str() + " refers to a path that comes after it");
    info.references.push_back(closure[reference].path);
  }
  if (!message.deriver().empty()) {
    ASSIGN_OR_RETURN(info.deriver, StorePath::parse(message.deriver()));
  }
  if (message.signature_size() > kSignaturesMax) return invalid(info.path.str() + ": too many signatures");
  for (const auto& signature : message.signature()) {
    if (signature.size() > nix::kPathTextMax) return invalid(info.path.str() + ": signature too long");
    info.signatures.push_back(signature);
  }
  info.content_address = message.content_address();
  if (info.content_address.size() > nix::kPathTextMax)
    return invalid(info.path.str() + ": content address too long");
  IncomingPath incoming{index,
                        std::move(info),
                        {message.reference_index().begin(), message.reference_index().end()},
                        std::nullopt};
  if (message.base_path().empty()) return incoming;
  ASSIGN_OR_RETURN(StorePath base, StorePath::parse(message.base_path()));
  if (!is_sha256(message.base_hash()))
    return invalid(incoming.info.path.str() + ": bad NAR hash of its base");
  incoming.base = {std::move(base), message.base_hash()};
  return incoming;
}

Error decode_stop(std::string_view payload) {
  const auto message = parse<v1::CopyError>(payload, "CopyError");
  return {ErrorKind::kCancelled,
          "the controller stopped: " + (message ? message->message() : message.error().message)};
}

std::string encode_missing(const transfer::Missing& missing) {
  v1::CopyMissing message;
  for (const uint32_t index : missing.indices) message.add_path_index(index);
  message.set_free_bytes(missing.free_bytes);
  message.set_needed_bytes(missing.needed_bytes);
  message.set_lane_address(missing.lane_address);
  for (const uint32_t index : missing.substituted) message.add_substituted_index(index);
  message.set_substitution_error(ascii(missing.substitution_error.substr(0, kWhyMax)));
  return message.SerializeAsString();
}

std::string encode_stored(uint32_t count) {
  v1::CopyStored message;
  message.set_path_count(count);
  return message.SerializeAsString();
}

std::string encode_fetched(const transfer::Fetched& fetched) {
  v1::CopyFetched message;
  message.set_has_ended(fetched.has_ended);
  for (const uint32_t index : fetched.failed) message.add_failed_index(index);
  message.set_why(ascii(fetched.why.substr(0, kWhyMax)));
  message.set_nar_bytes(fetched.bytes);
  return message.SerializeAsString();
}

std::string encode_done(const transfer::Done& done) {
  v1::CopyDone message;
  message.set_path_count(done.paths);
  message.set_nar_bytes(done.bytes);
  message.set_substituted_paths(done.substituted_paths);
  message.set_substituted_bytes(done.substituted_bytes);
  return message.SerializeAsString();
}

std::string encode_failure(const transfer::Failure& failure) {
  v1::CopyError message;
  message.set_kind(wire_kind(failure.error.kind));
  message.set_message(ascii(failure.error.message));
  if (failure.index >= 0) message.set_path_index(static_cast<uint32_t>(failure.index));
  return message.SerializeAsString();
}

}  // namespace flurry::agent
