// A hostile Nix daemon: every answer ends, is checked and bounded by what came; after a broken one nothing
// more is asked.
#include "core/nix/daemon.h"

#include <sys/socket.h>

#include "core/nix/closure.h"
#include "core/sys/clock.h"
#include "tests/fuzz/fuzz.h"

namespace flurry::fuzz {
namespace {

using nix::Daemon;

constexpr Millis kPatience{60'000};  // never needed: all that will come is there, and then the end

TimePoint soon() { return sys::now() + kPatience; }

std::string greeting(unsigned minor) {
  std::string out;
  nix::put_u64(out, 0x6478696f);
  nix::put_u64(out, 0x100 + minor);
  if (minor >= 38) nix::put_u64(out, 0);
  if (minor >= 33) nix::put_str(out, "2.18");
  if (minor >= 35) nix::put_u64(out, 1);
  nix::put_u64(out, 0x616c7473);
  return out;
}

StorePath path(char digit) { return *StorePath::parse("/nix/store/" + std::string(32, digit) + "-p"); }

// References first, no path twice, and the one that was asked for is last.
void check_closure(const std::vector<nix::PathInfo>& closure, const StorePath& top) {
  std::vector<StorePath> seen;
  for (const auto& info : closure) {
    for (const auto& reference : info.references)
      FLURRY_CHECK(reference == info.path || std::find(seen.begin(), seen.end(), reference) != seen.end());
    FLURRY_CHECK(std::find(seen.begin(), seen.end(), info.path) == seen.end());
    seen.push_back(info.path);
  }
  FLURRY_CHECK(!closure.empty() && closure.back().path == top);
}

Result<void> build(Daemon& daemon, size_t size) {
  const std::vector<std::string> targets{path('1').str() + "!out"};
  size_t events = 0;
  ASSIGN_OR_RETURN(const auto results, daemon.build_paths_with_results(
                                           targets, [&](const nix::BuildEvent&) { ++events; }, soon()));
  FLURRY_CHECK(events + results.size() <= size);
  for (const auto& result : results)
    FLURRY_CHECK(result.error.size() <= size && result.outputs.size() <= size);
  return {};
}

Result<void> add(Daemon& daemon) {
  nix::PathInfo info{.path = path('1')};
  info.nar_hash = std::string(64, '0');
  info.references = {path('2')};
  size_t left = 200'000;
  const std::string piece(70'000, '\0');
  const auto zeros = [&]() -> Result<std::string_view> {
    const size_t n = std::min(left, piece.size());
    left -= n;
    return std::string_view(piece).substr(0, n);
  };
  return daemon.add_to_store_nar(info, zeros, kPatience);
}

Result<void> call(Daemon& daemon, unsigned operation, size_t size) {
  const std::vector<StorePath> paths{path('1'), path('2'), path('3')};
  switch (operation) {
    case 0:
      RETURN_IF_ERROR(daemon.is_valid_path(paths[0], soon()));
      return {};
    case 1:
      return daemon.add_temp_roots(paths, soon());
    case 2: {
      ASSIGN_OR_RETURN(const auto infos, daemon.query_path_infos(paths, soon()));
      FLURRY_CHECK(infos.size() == paths.size());
      for (const auto& info : infos) FLURRY_CHECK(!info || info->references.size() <= size);
      return {};
    }
    case 3: {
      ASSIGN_OR_RETURN(const auto valid, daemon.query_valid_paths(paths, soon()));
      FLURRY_CHECK(valid.size() <= size);
      return {};
    }
    case 4:
      return add(daemon);
    case 5:
      return daemon.set_options({}, soon());
    case 6: {
      const std::vector<std::string> targets{path('1').str()};
      RETURN_IF_ERROR(daemon.query_missing(targets, soon()));
      return {};
    }
    case 7:
      return build(daemon, size);
    case 8: {
      ASSIGN_OR_RETURN(const auto outputs, daemon.query_derivation_output_map(paths[0], soon()));
      FLURRY_CHECK(outputs.size() <= size);
      return {};
    }
    default: {
      ASSIGN_OR_RETURN(const auto closure, nix::query_closure(daemon, paths[0], soon()));
      check_closure(closure, paths[0]);
      return {};
    }
  }
}

void check_given_up(Daemon& daemon) {
  const auto after = daemon.is_valid_path(path('1'), soon());
  FLURRY_CHECK(!after && after.error().message.find("given up after an earlier error") != std::string::npos);
}

}  // namespace

void run_one(std::string_view bytes) {
  Input input(bytes);
  const unsigned minor = input.byte();
  const unsigned operations[2] = {input.byte(), input.byte()};
  std::string said = minor % 4 != 0 ? greeting(21 + minor / 4 % 18) : "";
  said += input.rest();

  auto ends = sys::socket_pair();
  FLURRY_CHECK(ends);
  // Room for a NAR that nobody takes: the other end answers without reading.
  const int room = 1 << 20;
  ::setsockopt(ends->first.get(), SOL_SOCKET, SO_SNDBUFFORCE, &room, sizeof room);
  FLURRY_CHECK(sys::write_all(ends->second.get(), said, soon()));
  ::shutdown(ends->second.get(), SHUT_WR);
  auto daemon = Daemon::open(std::move(ends->first), soon());
  if (!daemon) {
    FLURRY_CHECK(daemon.error().kind != ErrorKind::kTimedOut);
    return check_told(daemon.error(), bytes.size());
  }
  for (const unsigned operation : operations) {
    const auto called = call(*daemon, operation % 10, said.size());
    if (called) continue;
    const Error& error = called.error();
    check_told(error, bytes.size());
    FLURRY_CHECK(error.kind != ErrorKind::kTimedOut);
    const bool is_answer = error.message.starts_with("nix daemon: ") || error.kind == ErrorKind::kUnsupported;
    const bool is_judgement = operation % 10 == 9;  // of a closure whose every part came well
    if (!is_answer && !is_judgement) return check_given_up(*daemon);
  }
}

}  // namespace flurry::fuzz
