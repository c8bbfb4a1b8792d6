#include "eval/eval_cache.h"

#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <system_error>

#include "eval/json_reader.h"
#include "eval/nix_command.h"

namespace flurry::eval {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kFirstLine = "flurry evaluation cache 2";
// A path that was cut short is a path too: only a file that has its end is whole.
constexpr std::string_view kLastLine = "end";
constexpr size_t kFileMax = size_t{16} << 20;
constexpr size_t kFilesMax = 64;
constexpr auto kUnusedMax = std::chrono::hours(24 * 30);

std::string sha256(std::string_view text) {
  std::array<unsigned char, 32> digest{};
  EVP_Digest(text.data(), text.size(), digest.data(), nullptr, EVP_sha256(), nullptr);
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string out;
  for (const unsigned char byte : digest) {
    out += kHex[byte >> 4];
    out += kHex[byte & 15];
  }
  return out;
}

// As Nix sees it.
std::string variable(const EvalOptions& options, const std::string& name) {
  for (const auto& entry : options.environment)
    if (entry.starts_with(name + "=")) return entry.substr(name.size() + 1);
  const char* value = std::getenv(name.c_str());
  return value == nullptr ? "" : value;
}

// $XDG_CACHE_HOME/flurry/eval; empty without a home.
std::string folder(const EvalOptions& options) {
  const std::string cache = variable(options, "XDG_CACHE_HOME");
  if (cache.starts_with('/')) return cache + "/flurry/eval";
  const std::string home = variable(options, "HOME");
  return home.starts_with('/') ? home + "/.cache/flurry/eval" : "";
}

bool is_turned_off(const EvalOptions& options) {
  bool off = options.impure;
  for (const auto& [name, value] : options.nix_options)
    if (name == "eval-cache") off = off || value == "false";
  return off;
}

// "nix (Nix) 2.8.0" or "nix (Lix, like Nix) 2.91.0", and its settings.
std::optional<std::string> what_nix(const EvalOptions& options, TimePoint deadline, std::stop_token stop) {
  EvalOptions bare;
  bare.environment = options.environment;
  const auto version = run_nix(bare, {"--version"}, deadline, stop);
  if (!version) return std::nullopt;
  const auto settings = nix_settings_json(options, deadline, stop);
  if (!settings) return std::nullopt;
  const auto text = settings_text(*settings);
  if (!text) return std::nullopt;
  return *version + "\n" + *text;
}

// Newest first; what is behind the last that may stay goes.
void forget_unused(const fs::path& place) {
  std::error_code error;
  std::vector<std::pair<fs::file_time_type, fs::path>> files;
  for (fs::directory_iterator it(place, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    files.emplace_back(fs::last_write_time(it->path(), ignored), it->path());
  }
  std::sort(files.rbegin(), files.rend());
  const auto oldest = fs::file_time_type::clock::now() - kUnusedMax;
  for (size_t i = 0; i < files.size(); ++i) {
    std::error_code ignored;
    if (i >= kFilesMax || files[i].first < oldest) fs::remove(files[i].second, ignored);
  }
}

}  // namespace

std::optional<std::string> settings_text(std::string_view json) {
  const auto root = parse_json(json, "nix show-config");
  if (!root || !root->is_object()) return std::nullopt;
  std::string out;
  for (const auto& [name, setting] : root->items()) {
    if (!setting.is_object() || !setting.contains("value")) return std::nullopt;
    if (name == "pure-eval" && setting["value"] != true) return std::nullopt;
    out += name + "=" + setting["value"].dump() + "\n";
  }
  if (out.find("pure-eval=") == std::string::npos) return std::nullopt;
  return out;
}

EvalCache EvalCache::open(const Fleet& fleet, const EvalOptions& options, TimePoint deadline,
                          std::stop_token stop) {
  EvalCache cache;
  const std::string place = folder(options);
  if (fleet.lock.empty() || place.empty() || is_turned_off(options)) return cache;
  const auto nix = what_nix(options, deadline, std::move(stop));
  if (!nix) return cache;
  const std::string schema = std::to_string(static_cast<int>(fleet.schema));
  cache.file_ = place + "/" + sha256(fleet.lock + "\n" + schema + "\n" + *nix);
  cache.entries_ = read(cache.file_);
  return cache;
}

EvalCache::Entries EvalCache::read(const std::string& file) {
  std::error_code error;
  if (fs::file_size(file, error) > kFileMax || error) return {};
  std::ifstream in(file);
  std::string line;
  if (!std::getline(in, line) || line != kFirstLine) return {};
  Entries entries;
  bool is_whole = false;
  while (std::getline(in, line)) {
    if (is_whole) return {};
    is_whole = line == kLastLine && !in.eof();
    if (is_whole) continue;
    std::istringstream words(line);
    std::string host, profile, drv, out, rest;
    words >> host >> profile >> drv >> out;
    auto paths = parse_paths(drv + " " + out);
    if (!paths || words >> rest || !HostName::parse(host)) return {};
    entries.insert_or_assign({host, profile}, *std::move(paths));
  }
  return is_whole ? entries : Entries();
}

std::optional<DerivationPaths> EvalCache::find(const HostName& host, const std::string& profile) const {
  const auto it = entries_.find({host.str(), profile});
  if (it == entries_.end()) return std::nullopt;
  return it->second;
}

void EvalCache::add(const HostName& host, const std::string& profile, const DerivationPaths& paths) {
  if (!is_on()) return;
  entries_.insert_or_assign({host.str(), profile}, paths);
  is_changed_ = true;
}

void EvalCache::save() {
  if (!is_on()) return;
  const fs::path place = fs::path(file_).parent_path();
  std::error_code ignored;
  if (!is_changed_) {
    fs::last_write_time(file_, fs::file_time_type::clock::now(), ignored);
    return;
  }
  fs::create_directories(place, ignored);
  std::string text(kFirstLine);
  for (const auto& [key, paths] : entries_)
    text += "\n" + key.first + " " + key.second + " " + paths.drv.str() + " " + paths.out.str();
  text += "\n" + std::string(kLastLine) + "\n";
  if (text.size() > kFileMax) return;  // nobody would read it
  // A torn file would only miss, but one that another controller reads meanwhile must not be half of it.
  const std::string fresh = file_ + "." + std::to_string(::getpid());
  if (std::ofstream out(fresh, std::ios::trunc); !(out << text) || !out.flush()) {
    fs::remove(fresh, ignored);
    return;
  }
  fs::rename(fresh, file_, ignored);
  is_changed_ = false;
  forget_unused(place);
}

}  // namespace flurry::eval
