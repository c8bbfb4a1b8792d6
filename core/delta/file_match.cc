#include "core/delta/file_match.h"

#include <cstdint>
#include <string_view>
#include <unordered_map>

namespace flurry::delta {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Each run of digits and dots between digits as one '#': "lib/libssl.so.3.0.20" gives "lib/libssl.so.#".
std::string without_digits(std::string_view path) {
  std::string out;
  for (size_t i = 0; i < path.size(); ++i) {
    const bool in_number = is_digit(path[i]) || (path[i] == '.' && !out.empty() && out.back() == '#' &&
                                                 i + 1 < path.size() && is_digit(path[i + 1]));
    if (!in_number)
      out += path[i];
    else if (out.empty() || out.back() != '#')
      out += '#';
  }
  return out;
}

std::string file_name_without_digits(std::string_view path) {
  return without_digits(path.substr(path.rfind('/') + 1));  // npos + 1 is the whole
}

using Names = std::unordered_map<std::string, std::optional<size_t>>;

// Nothing for a name that several have.
template <typename NameOf>
Names index(const std::vector<std::string>& files, const NameOf& name_of) {
  Names out;
  for (size_t i = 0; i < files.size(); ++i) {
    const auto [it, is_new] = out.try_emplace(name_of(files[i]), i);
    if (!is_new) it->second.reset();
  }
  return out;
}

std::optional<size_t> find(const Names& names, const std::string& name) {
  const auto it = names.find(name);
  return it == names.end() ? std::nullopt : it->second;
}

}  // namespace

std::vector<std::optional<size_t>> match_files(const std::vector<std::string>& files,
                                               const std::vector<std::string>& base_files) {
  std::vector<std::optional<size_t>> out(files.size());
  if (files == base_files) {
    for (size_t i = 0; i < files.size(); ++i) out[i] = i;
    return out;
  }
  const Names paths = index(base_files, [](const std::string& path) { return path; });
  const Names places = index(base_files, without_digits);
  const Names names = index(base_files, file_name_without_digits);
  for (size_t i = 0; i < files.size(); ++i) {
    out[i] = find(paths, files[i]);
    if (!out[i]) out[i] = find(places, without_digits(files[i]));
    if (!out[i]) out[i] = find(names, file_name_without_digits(files[i]));
  }
  return out;
}

}  // namespace flurry::delta
