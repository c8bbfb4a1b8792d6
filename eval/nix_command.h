#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/sys/subprocess.h"
#include "core/time.h"
#include "eval/evaluator.h"

namespace flurry::eval {

// Runs `nix ARGUMENTS…` with the flags that every call gets and the user's options, and returns its
// stdout. kFailed: its message, cleaned (nix_error_message). The deadline and a stop end a running program.
// Any thread.
Result<std::string> run_nix(const EvalOptions& options, const std::vector<std::string>& arguments,
                            TimePoint deadline, std::stop_token stop);

// What a caller has to do with a running program; see sys::Command.
struct NixHooks {
  std::function<void(std::string_view line)> on_line;  // of stderr
  std::function<bool(pid_t)> watch;
  std::vector<std::string> environment;  // goes before what the options have
};

// As run_nix, but however the program ended is a value. nix_failure() makes an error of it.
Result<sys::CommandResult> run_nix_program(const EvalOptions& options,
                                           const std::vector<std::string>& arguments, NixHooks hooks,
                                           TimePoint deadline, std::stop_token stop);
Error nix_failure(const EvalOptions& options, const sys::CommandResult& result);

// All settings that Nix has, as JSON: `nix show-config --json`, or what newer versions call it.
Result<std::string> nix_settings_json(const EvalOptions& options, TimePoint deadline, std::stop_token stop);

// The user's settings, as words for any of Nix's programs.
std::vector<std::string> nix_settings(const EvalOptions& options);

// The environment that every Nix program is given.
std::vector<std::string> nix_environment(const EvalOptions& options);

// What a person needs of Nix's stderr: the last "error:" with its lines, without colours. With
// `whole`, all of it follows.
std::string nix_error_message(std::string_view standard_error, bool whole);

// Without terminal escapes and control characters other than line breaks and tabs.
std::string strip_escapes(std::string_view text);

}  // namespace flurry::eval
