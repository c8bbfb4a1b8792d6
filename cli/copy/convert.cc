#include "cli/copy/convert.h"

#include <algorithm>

#include "flurry/v1/copy.pb.h"

namespace flurry::copy {
namespace {

constexpr size_t kWhyMax = 4096;  // of what a host says about its substituters

template <typename Message>
Result<Message> parse(std::string_view payload, const char* name) {
  Message message;
  if (!message.ParseFromArray(payload.data(), static_cast<int>(payload.size())))
    return Error{ErrorKind::kInvalidInput, std::string("the host sent a malformed ") + name};
  return message;
}

ErrorKind kind_of(v1::CopyErrorKind kind) {
  switch (kind) {
    case v1::COPY_ERROR_KIND_INVALID_INPUT:
      return ErrorKind::kInvalidInput;
    case v1::COPY_ERROR_KIND_UNREACHABLE:
      return ErrorKind::kUnreachable;
    case v1::COPY_ERROR_KIND_REFUSED:
      return ErrorKind::kRefused;
    case v1::COPY_ERROR_KIND_TIMED_OUT:
      return ErrorKind::kTimedOut;
    case v1::COPY_ERROR_KIND_NO_SPACE:
      return ErrorKind::kNoSpace;
    case v1::COPY_ERROR_KIND_EXHAUSTED:
      return ErrorKind::kExhausted;
    case v1::COPY_ERROR_KIND_UNSUPPORTED:
      return ErrorKind::kUnsupported;
    case v1::COPY_ERROR_KIND_CANCELLED:
      return ErrorKind::kCancelled;
    default:
      return ErrorKind::kFailed;
  }
}

bool is_word_character(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || c == '-'; }

}  // namespace

std::string encode_hello(const transfer::Hello& hello) {
  v1::CopyHello message;
  message.set_protocol_version(hello.version);
  message.set_deployment_id(hello.deployment.str());
  message.set_top_path(hello.top.str());
  message.set_path_count(hello.path_count);
  message.set_substitute(hello.substitute);
  message.set_only_question(hello.only_question);
  return message.SerializeAsString();
}

std::string encode_paths(std::span<const nix::PathInfo> paths) {
  v1::CopyPaths message;
  for (const auto& info : paths) {
    auto* entry = message.add_paths();
    entry->set_path(info.path.str());
    entry->set_nar_bytes(info.nar_size);
  }
  return message.SerializeAsString();
}

std::string encode_path_info(const nix::PathInfo& info, const IndexOfPath& index_of,
                             const nix::PathInfo* base) {
  v1::CopyPathInfo message;
  message.set_path_index(index_of.at(info.path.str()));
  message.set_nar_hash(info.nar_hash);
  for (const auto& reference : info.references) message.add_reference_index(index_of.at(reference.str()));
  if (info.deriver) message.set_deriver(info.deriver->str());
  for (const auto& signature : info.signatures) message.add_signature(signature);
  message.set_content_address(info.content_address);
  if (base != nullptr) {
    message.set_base_path(base->path.str());
    message.set_base_hash(base->nar_hash);
  }
  return message.SerializeAsString();
}

std::string encode_stop(const Error& error) {
  v1::CopyError message;
  message.set_kind(v1::COPY_ERROR_KIND_FAILED);
  std::string text = error.message.substr(0, 4096);
  for (char& c : text)
    if (static_cast<unsigned char>(c) >= 0x80) c = '?';
  message.set_message(text);
  return message.SerializeAsString();
}

Result<transfer::Missing> decode_missing(std::string_view payload, size_t path_count) {
  ASSIGN_OR_RETURN(const auto message, parse<v1::CopyMissing>(payload, "CopyMissing"));
  transfer::Missing missing;
  for (const uint32_t index : message.path_index()) {
    if (index >= path_count || (!missing.indices.empty() && index <= missing.indices.back()))
      return Error{ErrorKind::kInvalidInput, "the host asks for a path that is not in the closure"};
    missing.indices.push_back(index);
  }
  for (const uint32_t index : message.substituted_index()) {
    if (!std::binary_search(missing.indices.begin(), missing.indices.end(), index) ||
        (!missing.substituted.empty() && index <= missing.substituted.back()))
      return Error{ErrorKind::kInvalidInput,
                   "the host wants to fetch a path that it has or that isn't there"};
    missing.substituted.push_back(index);
  }
  missing.substitution_error = message.substitution_error().substr(0, kWhyMax);
  missing.free_bytes = message.free_bytes();
  missing.needed_bytes = message.needed_bytes();
  missing.lane_address = message.lane_address();
  // It becomes a word of a command.
  for (const char c : missing.lane_address)
    if (!is_word_character(c))
      return Error{ErrorKind::kInvalidInput, "the host names an impossible address for lanes"};
  return missing;
}

Result<uint32_t> decode_stored(std::string_view payload) {
  ASSIGN_OR_RETURN(const auto message, parse<v1::CopyStored>(payload, "CopyStored"));
  return message.path_count();
}

Result<transfer::Fetched> decode_fetched(std::string_view payload, std::span<const uint32_t> substituted) {
  ASSIGN_OR_RETURN(const auto message, parse<v1::CopyFetched>(payload, "CopyFetched"));
  transfer::Fetched fetched{.has_ended = message.has_ended(),
                            .why = message.why().substr(0, kWhyMax),
                            .bytes = message.nar_bytes()};
  for (const uint32_t index : message.failed_index()) {
    if (!fetched.has_ended || !std::binary_search(substituted.begin(), substituted.end(), index) ||
        (!fetched.failed.empty() && index <= fetched.failed.back()))
      return Error{ErrorKind::kInvalidInput, "the host failed to fetch a path that it was not to fetch"};
    fetched.failed.push_back(index);
  }
  return fetched;
}

Result<transfer::Done> decode_done(std::string_view payload) {
  ASSIGN_OR_RETURN(const auto message, parse<v1::CopyDone>(payload, "CopyDone"));
  return transfer::Done{message.path_count(), message.nar_bytes(), message.substituted_paths(),
                        message.substituted_bytes()};
}

Error decode_failure(std::string_view payload) {
  const auto message = parse<v1::CopyError>(payload, "CopyError");
  if (!message) return message.error();
  return {kind_of(message->kind()), message->message()};
}

}  // namespace flurry::copy
