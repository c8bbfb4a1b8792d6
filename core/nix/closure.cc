#include "core/nix/closure.h"

#include <algorithm>
#include <set>
#include <unordered_map>

namespace flurry::nix {
namespace {

enum class Mark : uint8_t { kNew, kOpen, kSorted };

// Depth first with a stack of its own: a chain of references may be as long as the closure.
class Sorter {
 public:
  explicit Sorter(const std::vector<PathInfo>& infos) : infos_(infos), marks_(infos.size(), Mark::kNew) {
    for (size_t i = 0; i < infos.size(); ++i) index_.emplace(infos[i].path.str(), i);
  }

  Result<std::vector<size_t>> run() {
    for (size_t i = 0; i < infos_.size(); ++i)
      if (marks_[i] == Mark::kNew) RETURN_IF_ERROR(visit(i));
    return std::move(order_);
  }

 private:
  struct Visit {
    size_t path;
    size_t next_reference;
  };

  Result<void> visit(size_t root) {
    std::vector<Visit> stack{{root, 0}};
    marks_[root] = Mark::kOpen;
    while (!stack.empty()) {
      Visit& top = stack.back();
      const PathInfo& info = infos_[top.path];
      if (top.next_reference == info.references.size()) {
        marks_[top.path] = Mark::kSorted;
        order_.push_back(top.path);
        stack.pop_back();
        continue;
      }
      const StorePath& reference = info.references[top.next_reference++];
      const auto found = index_.find(reference.str());
      if (found == index_.end())
        return Error{ErrorKind::kInvalidInput,
                     info.path.str() + " refers to " + reference.str() + ", which is not in its closure"};
      if (found->second == top.path || marks_[found->second] == Mark::kSorted) continue;
      if (marks_[found->second] == Mark::kOpen)
        return Error{ErrorKind::kInvalidInput,
                     info.path.str() + " and " + reference.str() + " refer to each other"};
      marks_[found->second] = Mark::kOpen;
      stack.push_back({found->second, 0});
    }
    return {};
  }

  const std::vector<PathInfo>& infos_;
  std::vector<Mark> marks_;
  std::vector<size_t> order_;
  std::unordered_map<std::string_view, size_t> index_;
};

}  // namespace

Result<std::vector<PathInfo>> sort_references_first(std::vector<PathInfo> infos) {
  std::sort(infos.begin(), infos.end(), [](const auto& a, const auto& b) { return a.path < b.path; });
  ASSIGN_OR_RETURN(const auto order, Sorter(infos).run());
  std::vector<PathInfo> sorted;
  sorted.reserve(infos.size());
  for (const size_t i : order) sorted.push_back(std::move(infos[i]));
  return sorted;
}

Result<std::vector<PathInfo>> query_closure(Daemon& daemon, const StorePath& top, TimePoint deadline) {
  std::set<StorePath> seen{top};
  std::vector<StorePath> level{top};
  std::vector<PathInfo> infos;
  while (!level.empty()) {
    ASSIGN_OR_RETURN(auto answers, daemon.query_path_infos(level, deadline));
    std::vector<StorePath> next;
    for (size_t i = 0; i < answers.size(); ++i) {
      if (!answers[i])
        return Error{ErrorKind::kInvalidInput, level[i].str() + " is not in the store of this machine"};
      for (const auto& reference : answers[i]->references)
        if (seen.insert(reference).second) next.push_back(reference);
      infos.push_back(std::move(*answers[i]));
    }
    if (seen.size() > kClosurePathsMax)
      return Error{ErrorKind::kInvalidInput, "the closure of " + top.str() + " has more than " +
                                                 std::to_string(kClosurePathsMax) + " paths"};
    level = std::move(next);
  }
  return sort_references_first(std::move(infos));
}

}  // namespace flurry::nix
