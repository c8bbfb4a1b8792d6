#include "eval/builder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "core/sys/fd.h"
#include "core/sys/subprocess.h"
#include "eval/build_log.h"
#include "eval/nix_command.h"

namespace flurry::eval {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kRootsName = "flurry-roots-";

// Anybody may put anything of that name into a directory that all may write to.
bool is_directory_of_ours(const fs::path& path) {
  struct stat info {};
  return ::lstat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode) && info.st_uid == ::geteuid() &&
         (info.st_mode & 077) == 0;
}

// A controller that was killed could not take its roots away, and they would hold closures for ever.
void forget_roots_of_the_dead(const fs::path& parent) {
  std::error_code error;
  for (fs::directory_iterator it(parent, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (!name.starts_with(kRootsName) || !is_directory_of_ours(it->path())) continue;
    const std::string pid =
        name.substr(kRootsName.size(), name.find('-', kRootsName.size()) - kRootsName.size());
    const bool is_pid = !pid.empty() && pid.find_first_not_of("0123456789") == std::string::npos;
    std::error_code ignored;
    if (is_pid && !fs::exists("/proc/" + pid, ignored)) fs::remove_all(it->path(), ignored);
  }
}

}  // namespace

Builder::~Builder() {
  // Roots are symlinks here that the store points at; without them the next collection is free to go.
  std::error_code ignored;
  if (!roots_.empty()) fs::remove_all(roots_, ignored);
}

Result<void> Builder::make_roots() {
  std::error_code error;
  const auto parent = fs::temp_directory_path(error);
  const fs::path place = error ? fs::path("/tmp") : parent;
  forget_roots_of_the_dead(place);
  std::string path = place.string() + "/" + std::string(kRootsName) + std::to_string(::getpid()) + "-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) return sys::errno_error("make directory " + path, errno);
  roots_ = path;
  return {};
}

Result<void> Builder::build(const ProfileDerivation& derivation, const OnLog& on_log, TimePoint deadline,
                            std::stop_token stop) {
  if (stop.stop_requested()) return Error{ErrorKind::kCancelled, "stopped by the user"};
  if (roots_.empty()) RETURN_IF_ERROR(make_roots());
  sys::Command command;
  command.argv = {"nix-store",
                  "--realise",
                  derivation.drv.str(),
                  "--log-format",
                  "internal-json",
                  "--add-root",
                  roots_ + "/" + std::string(derivation.out.hash_part()),
                  "--indirect"};
  for (auto& word : nix_settings(options_)) command.argv.push_back(std::move(word));
  command.environment = nix_environment(options_);
  BuildLog log(on_log);
  command.on_stderr_line = [&log](std::string_view line) { log.take_line(line); };
  command.stop = stop;
  const auto result = sys::run(command, deadline);
  if (!result) return result.error().with_context("build");
  if (result->exit_code == 0) return {};
  if (result->signal != 0)
    return Error{ErrorKind::kFailed, "build: nix-store ended by " + sys::describe_exit(*result)};
  return Error{ErrorKind::kFailed, log.describe_failure(derivation.drv.str())};
}

}  // namespace flurry::eval
