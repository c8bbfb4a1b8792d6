// The messages of a copy, each by the first byte: the host's view of a hostile controller and the
// controller's view of a hostile host.
#include "agent/import_convert.h"
#include "cli/copy/convert.h"
#include "tests/fuzz/fuzz.h"

namespace flurry::fuzz {
namespace {

std::vector<transfer::PathEntry> closure_of(size_t count) {
  std::vector<transfer::PathEntry> closure;
  for (size_t i = 0; i < count; ++i)
    closure.push_back(
        {*StorePath::parse("/nix/store/" + std::string(32, static_cast<char>('0' + i)) + "-p"), 96});
  return closure;
}

void check_hello(std::string_view payload) {
  const auto hello = agent::decode_hello(payload);
  if (!hello) return check_told(hello.error(), payload.size());
  FLURRY_CHECK(hello->path_count > 0 && hello->path_count <= transfer::kClosurePathsMax);
  const auto again = agent::decode_hello(copy::encode_hello(*hello));
  FLURRY_CHECK(again && again->top == hello->top && again->deployment == hello->deployment &&
               again->path_count == hello->path_count);
}

void check_paths(std::string_view payload, size_t count_max) {
  auto closure = closure_of(1);
  const auto decoded = agent::decode_paths(payload, count_max, closure);
  if (!decoded) check_told(decoded.error(), payload.size());
  FLURRY_CHECK(closure.size() <= count_max);
  for (const auto& entry : closure) FLURRY_CHECK(entry.nar_size <= transfer::kNarSizeMax);
}

void check_path_info(std::string_view payload, size_t count) {
  const auto closure = closure_of(count);
  const auto incoming = agent::decode_path_info(payload, closure);
  if (!incoming) return check_told(incoming.error(), payload.size());
  FLURRY_CHECK(incoming->index < closure.size());
  FLURRY_CHECK(incoming->info.path == closure[incoming->index].path);
  copy::IndexOfPath index_of;
  for (uint32_t i = 0; i < closure.size(); ++i) index_of.emplace(closure[i].path.str(), i);
  for (const auto& reference : incoming->info.references)
    FLURRY_CHECK(index_of.at(reference.str()) <= incoming->index);
  std::optional<nix::PathInfo> base;
  if (incoming->base)
    base = nix::PathInfo{.path = incoming->base->path, .nar_hash = incoming->base->nar_hash};
  const auto again = agent::decode_path_info(
      copy::encode_path_info(incoming->info, index_of, base ? &*base : nullptr), closure);
  FLURRY_CHECK(again && again->base.has_value() == base.has_value());
  FLURRY_CHECK(!base || (again->base->path == base->path && again->base->nar_hash == base->nar_hash));
  FLURRY_CHECK(again && again->info.references == incoming->info.references &&
               again->info.signatures == incoming->info.signatures &&
               again->info.deriver == incoming->info.deriver &&
               again->info.content_address == incoming->info.content_address);
}

void check_missing(std::string_view payload, size_t count) {
  const auto missing = copy::decode_missing(payload, count);
  if (!missing) return check_told(missing.error(), payload.size());
  FLURRY_CHECK(missing->indices.size() <= count);
  for (size_t i = 0; i < missing->indices.size(); ++i)
    FLURRY_CHECK(missing->indices[i] < count && (i == 0 || missing->indices[i - 1] < missing->indices[i]));
  const auto again = copy::decode_missing(agent::encode_missing(*missing), count);
  FLURRY_CHECK(again && again->indices == missing->indices && again->free_bytes == missing->free_bytes);
}

// A failure goes over the wire whatever it says.
void check_failure(std::string_view payload) {
  const Error said{ErrorKind::kNoSpace, std::string(payload)};
  const Error heard = copy::decode_failure(agent::encode_failure({said, 3}));
  FLURRY_CHECK(heard.kind == said.kind && heard.message.size() == said.message.size());
  FLURRY_CHECK(agent::decode_stop(copy::encode_stop(said)).kind == ErrorKind::kCancelled);
}

}  // namespace

void run_one(std::string_view bytes) {
  Input input(bytes);
  const unsigned kind = input.byte() % 8;
  const size_t count = input.byte() % 10;
  const auto payload = input.rest();
  if (kind == 0) check_hello(payload);
  if (kind == 1) check_paths(payload, 1 + count);
  if (kind == 2) check_path_info(payload, count);
  if (kind == 3) check_missing(payload, count);
  if (kind == 4) check_failure(payload);
  if (kind == 5) check_told(agent::decode_stop(payload), payload.size());
  if (kind == 6) static_cast<void>(copy::decode_failure(payload));
  if (kind == 7) {
    static_cast<void>(copy::decode_stored(payload));
    static_cast<void>(copy::decode_done(payload));
  }
}

}  // namespace flurry::fuzz
