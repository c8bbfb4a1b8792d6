#pragma once

#include <memory>

#include "cli/options.h"
#include "cli/reporter.h"

namespace flurry {

// JSON where --output says so; else live lines where stderr is a terminal that can draw them, plain lines
// elsewhere. NO_COLOR and TERM hold. Writes to stdout and stderr.
std::unique_ptr<Reporter> make_reporter(const Options& options);

}  // namespace flurry
