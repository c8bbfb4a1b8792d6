#pragma once

#include <cstdint>

namespace flurry::nix {

// Numbers of the worker protocol's operations (Nix: WorkerProto::Op in src/libstore/worker-protocol.hh).
// In brackets the protocol's minor version that brought them, where it is above our least one.
constexpr uint64_t kOpIsValidPath = 1;
constexpr uint64_t kOpBuildPaths = 9;
constexpr uint64_t kOpAddTempRoot = 11;
constexpr uint64_t kOpSetOptions = 19;
constexpr uint64_t kOpQueryPathInfo = 26;
constexpr uint64_t kOpQueryValidPaths = 31;
constexpr uint64_t kOpAddToStoreNar = 39;  // with a framed NAR: [23]
constexpr uint64_t kOpQueryMissing = 40;
constexpr uint64_t kOpQueryDerivationOutputMap = 41;  // [22]
constexpr uint64_t kOpBuildPathsWithResults = 46;     // [34]

}  // namespace flurry::nix
