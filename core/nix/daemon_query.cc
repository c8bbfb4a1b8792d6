// Questions about paths.
#include <algorithm>

#include "core/nix/daemon.h"
#include "core/nix/operations.h"

namespace flurry::nix {
namespace {

// Requests in flight. Enough to hide the turns between two processes; the replies to them stay far
// below what WireStream holds back.
constexpr size_t kPipelined = 256;
constexpr size_t kSignaturesMax = 1024;
constexpr size_t kNarHashDigits = 64;

bool is_nar_hash(std::string_view text) {
  return text.size() == kNarHashDigits &&
         text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

std::string request_of(uint64_t operation, const StorePath& path) {
  std::string request;
  put_u64(request, operation);
  put_str(request, path.str());
  return request;
}

}  // namespace

Result<bool> Daemon::is_valid_path(const StorePath& path, TimePoint deadline) {
  RETURN_IF_ERROR(call(request_of(kOpIsValidPath, path), deadline));
  ASSIGN_OR_RETURN(const uint64_t valid, stream_.u64_up_to(1, "answer"));
  done();
  return valid == 1;
}

Result<void> Daemon::add_temp_roots(std::span<const StorePath> paths, TimePoint deadline) {
  RETURN_IF_ERROR(begin(deadline));
  std::optional<Error> first_refusal;
  for (size_t from = 0; from < paths.size(); from += kPipelined) {
    const auto part = paths.subspan(from, std::min(kPipelined, paths.size() - from));
    std::string requests;
    for (const auto& path : part) requests += request_of(kOpAddTempRoot, path);
    RETURN_IF_ERROR(stream_.send(requests));
    for (size_t i = 0; i < part.size(); ++i) {
      ASSIGN_OR_RETURN(auto refused, await_result(nullptr));
      if (refused && !first_refusal) first_refusal = refused;
      if (refused) continue;
      RETURN_IF_ERROR(stream_.u64());
    }
  }
  done();
  if (first_refusal) return *first_refusal;
  return {};
}

// UnkeyedValidPathInfo. Nix: src/libstore/worker-protocol.cc.
Result<std::optional<PathInfo>> Daemon::read_path_info(const StorePath& path) {
  ASSIGN_OR_RETURN(const uint64_t is_valid, stream_.u64_up_to(1, "answer"));
  if (is_valid == 0) return std::optional<PathInfo>();
  PathInfo info{.path = path};
  ASSIGN_OR_RETURN(info.deriver, stream_.optional_path());
  ASSIGN_OR_RETURN(info.nar_hash, stream_.str(kPathTextMax));
  if (!is_nar_hash(info.nar_hash))
    return Error{ErrorKind::kInvalidInput, "the Nix daemon gave no SHA-256 as NAR hash of " + path.str()};
  ASSIGN_OR_RETURN(info.references, stream_.paths());
  RETURN_IF_ERROR(stream_.u64());  // registration time
  ASSIGN_OR_RETURN(info.nar_size, stream_.u64());
  ASSIGN_OR_RETURN(const uint64_t ultimate, stream_.u64_up_to(1, "ultimate"));
  info.is_ultimate = ultimate == 1;
  ASSIGN_OR_RETURN(info.signatures, stream_.strs(kSignaturesMax, kPathTextMax));
  ASSIGN_OR_RETURN(info.content_address, stream_.str(kPathTextMax));
  return std::optional<PathInfo>(std::move(info));
}

Result<std::optional<PathInfo>> Daemon::query_path_info(const StorePath& path, TimePoint deadline) {
  ASSIGN_OR_RETURN(auto infos, query_path_infos(std::span(&path, 1), deadline));
  return std::move(infos.front());
}

Result<std::vector<std::optional<PathInfo>>> Daemon::query_path_infos(std::span<const StorePath> paths,
                                                                      TimePoint deadline) {
  RETURN_IF_ERROR(begin(deadline));
  std::vector<std::optional<PathInfo>> infos;
  infos.reserve(paths.size());
  std::optional<Error> first_refusal;
  for (size_t from = 0; from < paths.size(); from += kPipelined) {
    const auto part = paths.subspan(from, std::min(kPipelined, paths.size() - from));
    std::string requests;
    for (const auto& path : part) requests += request_of(kOpQueryPathInfo, path);
    RETURN_IF_ERROR(stream_.send(requests));
    for (const auto& path : part) {
      ASSIGN_OR_RETURN(auto refused, await_result(nullptr));
      if (refused && !first_refusal) first_refusal = refused;
      if (refused) continue;
      ASSIGN_OR_RETURN(auto info, read_path_info(path));
      infos.push_back(std::move(info));
    }
  }
  done();
  if (first_refusal) return *first_refusal;
  return infos;
}

Result<std::vector<StorePath>> Daemon::query_valid_paths(std::span<const StorePath> paths,
                                                         TimePoint deadline) {
  std::string request;
  put_u64(request, kOpQueryValidPaths);
  put_paths(request, paths);
  if (minor_ >= 27) put_u64(request, 0);  // substitute
  RETURN_IF_ERROR(call(request, deadline));
  ASSIGN_OR_RETURN(auto valid, stream_.paths());
  done();
  return valid;
}

}  // namespace flurry::nix
