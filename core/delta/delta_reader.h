#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/delta/hash_rewriter.h"
#include "core/result.h"

namespace flurry::delta {

// Makes a NAR of a delta (format.h) and its base, piece by piece. The delta may be hostile: memory and what
// is read of the base stay within the bounds, and no more bytes come out than were announced. One thread.
class DeltaReader {
 public:
  // The next bytes of the delta; empty at its end. They stay valid until the next call.
  using Input = std::function<Result<std::string_view>()>;

  // `nar_size` is the announced size of the NAR, `rewriter` hash_pairs() of the two paths.
  DeltaReader(std::string base, HashRewriter rewriter, uint64_t nar_size, Input input);
  ~DeltaReader();
  DeltaReader(DeltaReader&&) noexcept;
  DeltaReader& operator=(DeltaReader&&) noexcept;

  // The next bytes of the NAR, at least one; 0 at its end, when the delta is at its end too. kInvalidInput
  // for a bad delta, kFailed where the base can't be read; what the input said. After an error it must not be
  // used.
  Result<size_t> read(std::span<char> buffer);

 private:
  class State;
  std::unique_ptr<State> state_;
};

}  // namespace flurry::delta
