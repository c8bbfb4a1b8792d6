#pragma once

#include <stop_token>
#include <string>
#include <string_view>

#include "core/result.h"
#include "core/time.h"
#include "eval/evaluator.h"

namespace flurry::eval {

// Nix goes on where an option names nothing: the user would deploy something else than they mean.

// kInvalidInput for an --override-input that no input has, by what Nix said on stderr while it locked.
Result<void> check_overrides(const EvalOptions& options, std::string_view standard_error);

// kInvalidInput for an --option that Nix has no setting for. `settings` is `nix show-config --json`; what
// can't be read refuses nothing.
Result<void> check_settings(const EvalOptions& options, std::string_view settings);

}  // namespace flurry::eval
