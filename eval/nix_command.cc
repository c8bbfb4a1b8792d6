#include "eval/nix_command.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/sys/subprocess.h"

namespace flurry::eval {
namespace {

constexpr size_t kErrorLinesMax = 24;
constexpr size_t kErrorMax = 8u << 10;
constexpr size_t kTraceMax = 32u << 10;
// Traces that carry our own results (system_evaluation.cc) are no news to the user.
constexpr std::string_view kOwnTrace = "trace: flurry-";

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string line = text.substr(at, end - at);
    while (!line.empty() && (line.back() == ' ' || line.back() == '\r')) line.pop_back();
    if (!line.starts_with(kOwnTrace)) lines.push_back(std::move(line));
    at = end + 1;
  }
  return lines;
}

std::string join(const std::vector<std::string>& lines, size_t from, size_t to) {
  std::string out;
  for (size_t i = from; i < to; ++i) out += (i > from ? "\n" : "") + lines[i];
  return out;
}

// Nix refuses what is about flakes where a command has nothing to do with them.
bool reads_a_flake(const std::vector<std::string>& arguments) {
  return !arguments.empty() && (arguments[0] == "eval" || arguments[0] == "flake");
}

// The mistake that most new users of flakes make, in words that Nix doesn't find. An option that does not
// exist is another one.
std::string untracked_hint(const std::string& message) {
  const bool is_in_source = message.find("-source") != std::string::npos;
  const bool is_missing =
      message.find("No such file") != std::string::npos ||
      (message.find("path '") != std::string::npos && message.find("' does not exist") != std::string::npos);
  if (!is_in_source || !is_missing) return {};
  return "\n(in a git repository, Nix sees only files that git tracks: git add the missing one)";
}

std::string_view trimmed(std::string_view line) {
  line.remove_prefix(std::min(line.find_first_not_of(' '), line.size()));
  return line;
}

bool is_trace(std::string_view line) { return line.starts_with("… ") || line.starts_with("(stack trace"); }

// Where the cause begins. "error:" alone may head a trace, or a text that begins with a new line, as NixOS's
// list of failed assertions does. A text may have further lines with "error:", so the first one counts.
size_t find_cause(const std::vector<std::string>& lines) {
  for (size_t i = 0; i < lines.size(); ++i) {
    const auto line = trimmed(lines[i]);
    if (!line.starts_with("error:")) continue;
    if (line.size() > std::string_view("error: ").size()) return i;
    size_t next = i + 1;
    while (next < lines.size() && lines[next].empty()) ++next;
    if (next < lines.size() && !is_trace(trimmed(lines[next]))) return i;
  }
  return lines.size();
}

// Of a trace, what names an option and the file that sets it: often the only place that is the user's own.
std::string option_context(const std::vector<std::string>& lines) {
  constexpr size_t kLinesMax = 3;
  std::string out;
  size_t count = 0;
  for (const auto& whole : lines) {
    const auto line = trimmed(whole);
    const bool is_about_option = line.starts_with("… while evaluating the option `") ||
                                 line.starts_with("… while evaluating definitions from `");
    if (is_about_option && count++ < kLinesMax) out += "\n" + std::string(line);
  }
  return out;
}

}  // namespace

std::vector<std::string> nix_settings(const EvalOptions& options) {
  std::vector<std::string> words;
  for (const auto& [name, value] : options.nix_options) words.insert(words.end(), {"--option", name, value});
  return words;
}

std::vector<std::string> nix_environment(const EvalOptions& options) {
  std::vector<std::string> environment{"NO_COLOR=1", "LC_ALL=C"};
  environment.insert(environment.end(), options.environment.begin(), options.environment.end());
  return environment;
}

std::string strip_escapes(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\x1b' && i + 1 < text.size() && text[i + 1] == '[') {
      // A CSI sequence ends with a byte of 0x40-0x7e.
      for (i += 2; i < text.size() && (text[i] < 0x40 || text[i] > 0x7e);) ++i;
    } else if (static_cast<unsigned char>(c) >= 0x20 || c == '\n' || c == '\t') {
      if (c != 0x7f) out += c;
    }
  }
  return out;
}

std::string nix_error_message(std::string_view standard_error, bool whole) {
  const auto lines = lines_of(strip_escapes(standard_error));
  const size_t start = find_cause(lines);
  if (start == lines.size()) {
    const size_t from = lines.size() > kErrorLinesMax ? lines.size() - kErrorLinesMax : 0;
    return lines.empty() ? "no message" : join(lines, from, lines.size());
  }
  // Newer versions put the trace before the error, older behind it: "… while evaluating".
  size_t end = start + 1;
  while (end < lines.size() && end - start < kErrorLinesMax &&
         lines[end].find("… while") == std::string::npos &&
         lines[end].find("use '--show-trace'") == std::string::npos)
    ++end;
  while (end > start + 1 && lines[end - 1].empty()) --end;
  std::string message = join(lines, start, end);
  message.erase(0, message.find("error:") + 6);
  message.erase(0, message.find_first_not_of(" \n"));
  if (message.size() > kErrorMax) message = message.substr(0, kErrorMax) + " [...]";
  message += option_context(lines);
  message += untracked_hint(message);
  if (whole) {
    std::string trace = join(lines, 0, lines.size());
    if (trace.size() > kTraceMax) trace = "[...]\n" + trace.substr(trace.size() - kTraceMax);
    message += "\n\nall that nix said:\n" + trace;
  }
  return message;
}

Result<sys::CommandResult> run_nix_program(const EvalOptions& options,
                                           const std::vector<std::string>& arguments, NixHooks hooks,
                                           TimePoint deadline, std::stop_token stop) {
  if (stop.stop_requested()) return Error{ErrorKind::kCancelled, "stopped by the user"};
  sys::Command command;
  command.argv = {"nix", "--extra-experimental-features", "nix-command flakes"};
  command.argv.insert(command.argv.end(), arguments.begin(), arguments.end());
  for (auto& word : nix_settings(options)) command.argv.push_back(std::move(word));
  if (reads_a_flake(arguments)) {
    command.argv.emplace_back("--no-write-lock-file");
    for (const auto& [name, flake] : options.override_inputs)
      command.argv.insert(command.argv.end(), {"--override-input", name, flake});
    if (options.impure) command.argv.emplace_back("--impure");
    if (options.show_trace) command.argv.emplace_back("--show-trace");
  }
  command.environment = std::move(hooks.environment);
  for (auto& entry : nix_environment(options)) command.environment.push_back(std::move(entry));
  command.on_stderr_line = std::move(hooks.on_line);
  command.watch = std::move(hooks.watch);
  command.stop = std::move(stop);
  return sys::run(command, deadline);
}

Error nix_failure(const EvalOptions& options, const sys::CommandResult& result) {
  if (result.signal != 0)
    return {ErrorKind::kFailed,
            "nix ended by " + sys::describe_exit(result) + (result.signal == 9 ? " (out of memory?)" : "")};
  return {ErrorKind::kFailed, nix_error_message(result.standard_error, options.show_trace)};
}

Result<std::string> run_nix(const EvalOptions& options, const std::vector<std::string>& arguments,
                            TimePoint deadline, std::stop_token stop) {
  ASSIGN_OR_RETURN(auto result, run_nix_program(options, arguments, {}, deadline, std::move(stop)));
  if (result.exit_code != 0) return nix_failure(options, result);
  return std::move(result.standard_output);
}

Result<std::string> nix_settings_json(const EvalOptions& options, TimePoint deadline, std::stop_token stop) {
  auto settings = run_nix(options, {"show-config", "--json"}, deadline, stop);
  if (settings) return settings;
  return run_nix(options, {"config", "show", "--json"}, deadline, std::move(stop));
}

}  // namespace flurry::eval
