#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace flurry::delta {

// For each of `files` the place in `base_files` of the one that it most likely comes from: of the same path;
// or of the same path but for the digits (versions) in it; or of the same such name in
// another folder. Where several are alike: nothing.
std::vector<std::optional<size_t>> match_files(const std::vector<std::string>& files,
                                               const std::vector<std::string>& base_files);

}  // namespace flurry::delta
