// The messages of a copy, each by the first byte: the host's view of a hostile controller and the
// controller's view of a hostile host.
#include <algorithm>
#include <set>

#include "agent/arrivals.h"
#include "agent/import_convert.h"
#include "cli/copy/convert.h"
#include "cli/copy/send_order.h"
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
               again->path_count == hello->path_count && again->substitute == hello->substitute &&
               again->only_question == hello->only_question);
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
  for (const uint32_t index : missing->substituted)
    FLURRY_CHECK(std::find(missing->indices.begin(), missing->indices.end(), index) !=
                 missing->indices.end());
  const auto again = copy::decode_missing(agent::encode_missing(*missing), count);
  FLURRY_CHECK(again && again->indices == missing->indices && again->free_bytes == missing->free_bytes &&
               again->substituted == missing->substituted &&
               again->substitution_error.size() == missing->substitution_error.size());
}

// Of the first paths, each second one is fetched.
void check_fetched(std::string_view payload, size_t count) {
  std::vector<uint32_t> substituted;
  for (uint32_t i = 0; i < count; i += 2) substituted.push_back(i);
  const auto fetched = copy::decode_fetched(payload, substituted);
  if (!fetched) return check_told(fetched.error(), payload.size());
  FLURRY_CHECK(fetched->has_ended || fetched->failed.empty());
  for (size_t i = 0; i < fetched->failed.size(); ++i)
    FLURRY_CHECK(fetched->failed[i] < count && fetched->failed[i] % 2 == 0 &&
                 (i == 0 || fetched->failed[i - 1] < fetched->failed[i]));
  const auto again = copy::decode_fetched(agent::encode_fetched(*fetched), substituted);
  FLURRY_CHECK(again && again->has_ended == fetched->has_ended && again->failed == fetched->failed &&
               again->bytes == fetched->bytes && again->why.size() == fetched->why.size());
}

// What the host lacks and fetches, in a closure where each path refers to some before it: no path is sent
// before what it refers to, and each once.
void check_order(std::string_view bytes) {
  Input input(bytes);
  const auto entries = closure_of(9);
  std::vector<nix::PathInfo> closure;
  copy::IndexOfPath index_of;
  for (uint32_t i = 0; i < entries.size(); ++i) {
    closure.push_back({.path = entries[i].path});
    for (unsigned j = 0, bits = input.byte(); j <= i; ++j)
      if ((bits >> (j % 8) & 1) != 0) closure.back().references.push_back(entries[j].path);
    index_of.emplace(entries[i].path.str(), i);
  }
  // What refers to a missing path is missing.
  transfer::Missing missing;
  const unsigned lacks = input.byte(), fetches = input.byte(), fails = input.byte();
  std::set<uint32_t> there, failed;
  for (uint32_t i = 0; i < closure.size(); ++i) {
    bool is_missing = (lacks >> (i % 8) & 1) != 0;
    for (const auto& reference : closure[i].references)
      is_missing =
          is_missing || (index_of.at(reference.str()) != i && !there.contains(index_of.at(reference.str())));
    if (!is_missing) there.insert(i);
    if (is_missing) missing.indices.push_back(i);
    if (is_missing && (fetches >> (i % 8) & 1) != 0) missing.substituted.push_back(i);
  }
  std::vector<transfer::PathEntry> copy_of = entries;
  agent::Arrivals arrivals(copy_of, missing.indices);
  arrivals.fetch(missing.substituted);
  const copy::SendOrder order(closure, index_of, missing);
  const auto send = [&](const std::vector<uint32_t>& indices) {
    for (const uint32_t index : indices) {
      agent::IncomingPath incoming{index, closure[index], {}, std::nullopt};
      for (const auto& reference : closure[index].references)
        incoming.references.push_back(index_of.at(reference.str()));
      FLURRY_CHECK(arrivals.begin(incoming));
      FLURRY_CHECK(!arrivals.begin(incoming));
    }
  };
  send(order.now);
  FLURRY_CHECK(!arrivals.awaits_stream() || !order.later.empty());
  for (const uint32_t index : missing.substituted)
    if ((fails >> (index % 8) & 1) != 0) failed.insert(index);
  const std::vector<uint32_t> again(failed.begin(), failed.end());
  arrivals.end_fetch(again);
  send(order.after(again));
  FLURRY_CHECK(!arrivals.awaits_stream() && !arrivals.is_fetching());
  FLURRY_CHECK(arrivals.received_paths() + arrivals.fetched_paths() == missing.indices.size());
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
  const unsigned kind = input.byte() % 10;
  const size_t count = input.byte() % 10;
  const auto payload = input.rest();
  if (kind == 0) check_hello(payload);
  if (kind == 1) check_paths(payload, 1 + count);
  if (kind == 2) check_path_info(payload, count);
  if (kind == 3) check_missing(payload, count);
  if (kind == 4) check_failure(payload);
  if (kind == 5) check_told(agent::decode_stop(payload), payload.size());
  if (kind == 6) static_cast<void>(copy::decode_failure(payload));
  if (kind == 8) check_fetched(payload, count);
  if (kind == 9) check_order(payload);
  if (kind == 7) {
    static_cast<void>(copy::decode_stored(payload));
    static_cast<void>(copy::decode_done(payload));
  }
}

}  // namespace flurry::fuzz
