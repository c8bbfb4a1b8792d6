#pragma once

#include <string>

#include "core/result.h"
#include "core/time.h"

namespace flurry {

struct Greeting {
  std::string text;        // what came before the mark, or before the end of the stream
  bool has_begun = false;  // the mark came (core/transfer/stream_mark.h); what follows it is still to be read
};

// Reads from a socket up to the mark, and not a byte further. kTimedOut; kFailed where too much comes before
// it.
Result<Greeting> pass_over_greeting(int fd, TimePoint deadline);

}  // namespace flurry
