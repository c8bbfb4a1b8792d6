#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/time.h"
#include "eval/evaluator.h"

namespace flurry::eval {

using OnLine = std::function<void(std::string_view line)>;

// Runs `nix ARGUMENTS…` with the flags that every call gets and the user's options, and returns its
// stdout. kFailed: its message, cleaned (nix_error_message). `on_line` sees stderr; may be empty. A
// stop is looked at before the start; the deadline ends a running program. Any thread.
Result<std::string> run_nix(const EvalOptions& options, const std::vector<std::string>& arguments,
                            const OnLine& on_line, TimePoint deadline, std::stop_token stop);

// The environment that every Nix program is given.
std::vector<std::string> nix_environment(const EvalOptions& options);

// What a person needs of Nix's stderr: the last "error:" with its lines, without colours. With
// `whole`, all of it follows.
std::string nix_error_message(std::string_view standard_error, bool whole);

// Without terminal escapes and control characters other than line breaks and tabs.
std::string strip_escapes(std::string_view text);

}  // namespace flurry::eval
