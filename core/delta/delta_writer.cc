#include "core/delta/delta_writer.h"

#include <algorithm>

#include "core/delta/file_match.h"
#include "core/delta/format.h"
#include "core/delta/nar_outline.h"
#include "core/delta/varint.h"
#include "core/delta/zstd_frame.h"
#include "core/sys/mapped_file.h"

namespace flurry::delta {
namespace {

// A frame against a base costs some 15 bytes more than its content's share of a batch.
constexpr uint64_t kPatchMin = 512;

std::string where(const std::string& root, const std::string& file) {
  return file.empty() ? root : root + "/" + file;
}

// What becomes of one file.
struct Plan {
  uint8_t op = kLiteral;
  size_t base = 0;  // file of the base, unless kLiteral
};

class Writer {
 public:
  Writer(std::string path, std::string base, const HashRewriter& rewriter, const DeltaOptions& options,
         const DeltaSink& sink)
      : path_(std::move(path)), base_(std::move(base)), rewriter_(rewriter), options_(options), sink_(sink) {}

  Result<DeltaStats> run() {
    ASSIGN_OR_RETURN(new_tree_, read_tree(path_));
    ASSIGN_OR_RETURN(base_tree_, read_tree(base_));
    put(std::string(1, static_cast<char>(kVersion)));
    put_outline();
    ASSIGN_OR_RETURN(const std::vector<Plan> plans, plan_files());
    for (size_t i = 0; i < plans.size();) {
      const size_t end = end_of_run(plans, i);
      RETURN_IF_ERROR(put_run(plans, i, end));
      i = end;
    }
    RETURN_IF_ERROR(flush());
    return stats_;
  }

 private:
  void put(std::string_view bytes) { pending_ += bytes; }

  Result<void> flush() {
    std::string_view rest = pending_;
    stats_.delta_bytes += rest.size();
    while (!rest.empty()) {
      RETURN_IF_ERROR(sink_(rest.substr(0, kPiece)));
      rest.remove_prefix(std::min(rest.size(), kPiece));
    }
    pending_.clear();
    return {};
  }

  Result<void> flush_if_full() { return pending_.size() < kPiece ? Result<void>() : flush(); }

  void put_outline() {
    const std::string wanted = encode_outline(new_tree_.outline);
    std::string prefix = encode_outline(base_tree_.outline);
    rewriter_.rewrite(prefix, true);
    put_varint(pending_, wanted == prefix ? 0 : wanted.size());
    if (wanted == prefix) return;
    const auto frame = frames_.compress(wanted, prefix, options_.literal_level);
    put_varint(pending_, frame.size());
    put(frame);
  }

  uint64_t size_of(size_t file) const { return new_tree_.outline.holes[file].size; }

  Result<std::vector<Plan>> plan_files() {
    const auto matches = match_files(new_tree_.files, base_tree_.files);
    std::vector<Plan> plans(matches.size());
    for (size_t i = 0; i < plans.size(); ++i) {
      if (!matches[i]) continue;
      plans[i].base = *matches[i];
      ASSIGN_OR_RETURN(plans[i].op, op_for(i, *matches[i]));
    }
    return plans;
  }

  Result<uint8_t> op_for(size_t file, size_t base) {
    const uint64_t base_size = base_tree_.outline.holes[base].size;
    if (size_of(file) == base_size) {
      ASSIGN_OR_RETURN(const auto wanted, open(path_, new_tree_, file));
      ASSIGN_OR_RETURN(const auto known, open(base_, base_tree_, base));
      if (wanted.bytes() == known.bytes()) return kCopy;
      if (is_rewritten(wanted.bytes(), known.bytes())) return kRewrite;
    }
    return size_of(file) < kPatchMin || base_size < kPatchMin ? kLiteral : kPatch;
  }

  // Whether replacing the hashes in `known` gives `wanted`, of the same size.
  bool is_rewritten(std::string_view wanted, std::string_view known) {
    std::string buffer;
    for (;;) {
      const size_t n = std::min(known.size(), kPiece);
      buffer += known.substr(0, n);
      known.remove_prefix(n);
      const size_t ready = rewriter_.rewrite(buffer, known.empty());
      if (wanted.substr(0, ready) != std::string_view(buffer).substr(0, ready)) return false;
      if (known.empty()) return true;
      wanted.remove_prefix(ready);
      buffer.erase(0, ready);
    }
  }

  Result<sys::MappedFile> open(const std::string& root, const NarTree& tree, size_t file) const {
    const std::string name = where(root, tree.files[file]);
    ASSIGN_OR_RETURN(auto mapped, sys::MappedFile::open(name));
    if (mapped.bytes().size() != tree.outline.holes[file].size)
      return Error{ErrorKind::kFailed, name + " has changed its size"};
    return mapped;
  }

  // Behind the last file that goes into one operation with `first`.
  static size_t end_of_run(const std::vector<Plan>& plans, size_t first) {
    const Plan& plan = plans[first];
    size_t end = first + 1;
    if (plan.op == kPatch) return end;
    const auto goes_on = [&](const Plan& next) {
      return next.op == plan.op && (plan.op == kLiteral || next.base == plan.base + (end - first));
    };
    while (end < plans.size() && goes_on(plans[end])) ++end;
    return end;
  }

  Result<void> put_run(const std::vector<Plan>& plans, size_t first, size_t end) {
    const Plan& plan = plans[first];
    pending_ += static_cast<char>(plan.op);
    if (plan.op == kLiteral) return put_literals(first, end);
    put_varint(pending_, zigzag(static_cast<int64_t>(plan.base) - static_cast<int64_t>(next_base_)));
    next_base_ = plan.base + (end - first);
    if (plan.op == kPatch) return put_patch(first, plan.base);
    put_varint(pending_, end - first);
    for (size_t i = first; i < end; ++i) (plan.op == kCopy ? stats_.copied : stats_.rewritten) += size_of(i);
    return flush_if_full();
  }

  Result<void> put_patch(size_t file, size_t base) {
    ASSIGN_OR_RETURN(const auto wanted, open(path_, new_tree_, file));
    ASSIGN_OR_RETURN(const auto known, open(base_, base_tree_, base));
    stats_.patched += wanted.bytes().size();
    for (uint64_t at = 0; at < wanted.bytes().size(); at += kSlice) {
      const auto slice = wanted.bytes().substr(at, kSlice);
      const auto [from, size] = part_of_base(known.bytes().size(), wanted.bytes().size(), at, slice.size());
      const auto frame = frames_.compress(slice, known.bytes().substr(from, size), options_.level);
      put_varint(pending_, from);
      put_varint(pending_, size);
      put_varint(pending_, frame.size());
      put(frame);
      RETURN_IF_ERROR(flush_if_full());
    }
    return {};
  }

  // What lies around the same place, in proportion to the sizes.
  static std::pair<uint64_t, uint64_t> part_of_base(uint64_t base_size, uint64_t size, uint64_t at,
                                                    uint64_t slice) {
    if (base_size <= kPrefixMax) return {0, base_size};
    const double middle = static_cast<double>(at + slice / 2) / static_cast<double>(size);
    const double from = middle * static_cast<double>(base_size) - static_cast<double>(kPrefixMax / 2);
    const double last = static_cast<double>(base_size - kPrefixMax);
    return {static_cast<uint64_t>(std::clamp(from, 0.0, last)), kPrefixMax};
  }

  Result<void> put_literals(size_t first, size_t end) {
    uint64_t total = 0;
    for (size_t i = first; i < end; ++i) total += size_of(i);
    stats_.literal += total;
    put_varint(pending_, end - first);
    const auto take = [&](std::string_view piece) -> Result<void> {
      put(piece);
      return flush_if_full();
    };
    literals_.begin(total, options_.literal_level);
    for (size_t i = first; i < end; ++i) {
      ASSIGN_OR_RETURN(const auto wanted, open(path_, new_tree_, i));
      RETURN_IF_ERROR(literals_.add(wanted.bytes(), take));
    }
    return literals_.end(take);
  }

  const std::string path_;
  const std::string base_;
  const HashRewriter& rewriter_;
  const DeltaOptions options_;
  const DeltaSink& sink_;
  NarTree new_tree_;
  NarTree base_tree_;
  FrameWriter frames_;
  FrameWriter literals_;
  std::string pending_;
  size_t next_base_ = 0;
  DeltaStats stats_;
};

}  // namespace

Result<DeltaStats> write_delta(const std::string& path, const std::string& base, const HashRewriter& rewriter,
                               const DeltaOptions& options, const DeltaSink& sink) {
  return Writer(path, base, rewriter, options, sink).run();
}

}  // namespace flurry::delta
