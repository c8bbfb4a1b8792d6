#include "eval/builder.h"

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "core/sys/fd.h"
#include "core/sys/subprocess.h"
#include "eval/build_log.h"
#include "eval/nix_command.h"

namespace flurry::eval {

Builder::~Builder() {
  // Roots are symlinks here that the store points at; without them the next collection is free to go.
  std::error_code ignored;
  if (!roots_.empty()) std::filesystem::remove_all(roots_, ignored);
}

Result<void> Builder::make_roots() {
  std::error_code error;
  const auto parent = std::filesystem::temp_directory_path(error);
  std::string path = (error ? std::string("/tmp") : parent.string()) + "/flurry-roots-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) return sys::errno_error("make directory " + path, errno);
  roots_ = path;
  return {};
}

Result<void> Builder::build(const SystemDerivation& system, const OnLog& on_log, TimePoint deadline,
                            std::stop_token stop) {
  if (stop.stop_requested()) return Error{ErrorKind::kCancelled, "stopped by the user"};
  if (roots_.empty()) RETURN_IF_ERROR(make_roots());
  sys::Command command;
  command.argv = {"nix-store",
                  "--realise",
                  system.drv.str(),
                  "--log-format",
                  "internal-json",
                  "--add-root",
                  roots_ + "/" + std::string(system.out.hash_part()),
                  "--indirect"};
  for (const auto& [name, value] : options_.nix_options)
    command.argv.insert(command.argv.end(), {"--option", name, value});
  command.environment = nix_environment(options_);
  BuildLog log(on_log);
  command.on_stderr_line = [&log](std::string_view line) { log.take_line(line); };
  command.stop = stop;
  const auto result = sys::run(command, deadline);
  if (!result) return result.error().with_context("build");
  if (result->exit_code == 0) return {};
  if (result->signal != 0)
    return Error{ErrorKind::kFailed, "build: nix-store ended by " + sys::describe_exit(*result)};
  return Error{ErrorKind::kFailed, log.describe_failure(system.drv.str())};
}

}  // namespace flurry::eval
