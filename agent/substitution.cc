#include "agent/substitution.h"

#include <algorithm>
#include <string_view>
#include <unordered_set>

#include "core/sys/clock.h"

namespace flurry::agent {
namespace {

// Before Nix 2.16 as many paths are fetched at once as there are jobs. Nothing is ever built.
constexpr uint64_t kFetchesAtOnce = 16;
// What is told of them fits into one frame with what is missing.
constexpr size_t kFetchedMax = 100'000;

std::unordered_set<std::string_view> names_of(std::span<const StorePath> paths) {
  std::unordered_set<std::string_view> names;
  for (const auto& path : paths) names.insert(path.str());
  return names;
}

}  // namespace

Substitution::~Substitution() {
  is_given_up_ = true;
  if (!thread_.joinable()) return;
  daemon_->hang_up();
  thread_.join();
}

Result<std::vector<uint32_t>> Substitution::ask(std::span<const uint32_t> missing, TimePoint deadline) {
  ASSIGN_OR_RETURN(daemon_, connect_(deadline));
  RETURN_IF_ERROR(daemon_->set_options({.max_jobs = kFetchesAtOnce}, deadline));
  std::vector<std::string> targets;
  targets.reserve(missing.size());
  for (const uint32_t index : missing) targets.push_back(closure_[index].path.str());
  ASSIGN_OR_RETURN(const auto answer, daemon_->query_missing(targets, deadline));
  const auto names = names_of(answer.to_substitute);
  std::vector<uint32_t> found;
  for (const uint32_t index : missing)
    if (found.size() < kFetchedMax && names.contains(closure_[index].path.str())) found.push_back(index);
  return found;
}

Result<void> Substitution::start(std::vector<uint32_t> indices) {
  ASSIGN_OR_RETURN(auto ends, sys::socket_pair());
  end_ = std::move(ends.first);
  thread_ = std::thread([this, indices = std::move(indices), at_end = std::move(ends.second)]() mutable {
    fetch(indices);
    at_end.reset();
  });
  return {};
}

// The connection that fetched may be of no use any more.
Result<std::vector<StorePath>> Substitution::valid_ones(std::span<const StorePath> paths) {
  auto valid = daemon_->query_valid_paths(paths, sys::now() + idle_timeout_);
  if (valid || is_given_up_) return valid;
  daemon_->hang_up();  // so that what it still holds is free for what comes over the stream
  ASSIGN_OR_RETURN(nix::Daemon daemon, connect_(sys::now() + idle_timeout_));
  return daemon.query_valid_paths(paths, sys::now() + idle_timeout_);
}

void Substitution::fetch(const std::vector<uint32_t>& indices) {
  std::vector<StorePath> paths;
  for (const uint32_t index : indices) paths.push_back(closure_[index].path);
  const auto fetched = daemon_->fetch_paths(
      paths, [this](uint64_t bytes) { bytes_ = bytes; }, idle_timeout_);
  const auto valid = valid_ones(paths);
  // Where that is not known they are sent; what is there already does no harm.
  const auto names = valid ? names_of(*valid) : std::unordered_set<std::string_view>();
  transfer::Fetched end{.has_ended = true, .failed = {}, .why = "", .bytes = bytes_};
  for (size_t i = 0; i < indices.size(); ++i)
    if (!names.contains(paths[i].str())) end.failed.push_back(indices[i]);
  if (!end.failed.empty()) {
    end.why = closure_[end.failed.front()].path.str();
    if (end.failed.size() > 1) end.why += " and " + std::to_string(end.failed.size() - 1) + " more";
    end.why += ": " + (!fetched ? fetched.error().message
                       : !valid ? valid.error().message
                                : "the Nix daemon did not fetch it");
  }
  ended_.push(std::move(end));
}

transfer::Fetched Substitution::look() {
  auto ended = ended_.pop_all(sys::now());
  if (ended.empty()) return {.has_ended = false, .failed = {}, .why = "", .bytes = bytes_};
  return std::move(ended.front());
}

}  // namespace flurry::agent
