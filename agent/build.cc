#include "agent/build.h"

#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "agent/import.h"
#include "agent/import_store.h"
#include "agent/tools.h"
#include "core/sys/clock.h"
#include "core/sys/fd.h"
#include "core/sys/subprocess.h"

namespace flurry::agent {
namespace {

constexpr Millis kBuildTimeout{24 * 3600'000};
// A controller that takes no line for so long is gone.
constexpr Millis kWriteTimeout{60'000};
constexpr Millis kCheckTimeout{60'000};
constexpr size_t kLineMax = 64 << 10;
constexpr size_t kSettingsMax = 64 << 10;
constexpr Millis kSettingsTimeout{60'000};
constexpr int kLookMs = 200;

int failed(const Error& error) {
  std::fprintf(stderr, "flurry-agent: %s\n", error.message.c_str());
  return 1;
}

// Whoever logs in here may have settings of their own.
std::string nix_config_with(const std::string& settings) {
  const char* own = ::getenv("NIX_CONFIG");
  return std::string("NIX_CONFIG=") + (own != nullptr ? std::string(own) + "\n" : "") + settings;
}

// Asks for a stop when the controller's side is closed.
void watch_input(std::stop_token leave, std::stop_source& gone) {
  char byte = 0;
  while (!leave.stop_requested()) {
    pollfd in{STDIN_FILENO, POLLIN, 0};
    if (::poll(&in, 1, kLookMs) <= 0) continue;
    if (::read(STDIN_FILENO, &byte, 1) > 0) continue;
    gone.request_stop();
    return;
  }
}

}  // namespace

std::optional<BuildRequest> parse_build_words(const std::vector<std::string>& words) {
  if (words.size() != 3) return std::nullopt;
  auto deployment = DeploymentId::parse(words[0]);
  auto drv = StorePath::parse(words[1]);
  auto out = StorePath::parse(words[2]);
  if (!deployment || !drv || !out || !drv->name().ends_with(".drv")) return std::nullopt;
  return BuildRequest{*std::move(deployment), *std::move(drv), *std::move(out)};
}

// A byte at a time: what comes after them is not ours to take.
Result<std::string> read_build_settings(int fd, TimePoint deadline) {
  std::string text;
  for (char byte = 0; text.size() <= kSettingsMax; text += byte) {
    ASSIGN_OR_RETURN(const size_t n, sys::read_some(fd, {&byte, 1}, deadline));
    if (n == 0) return Error{ErrorKind::kFailed, "the controller ended the stream too early"};
    if (byte == '\0') return text;
  }
  return Error{ErrorKind::kInvalidInput, "the settings of Nix are longer than 64 KiB"};
}

int run_build(const BuildRequest& request) {
  const ImportOptions places;
  // Before it is there: what is valid afterwards can't be collected in between.
  if (const auto held = hold_closure(places.state_dir, request.deployment, request.out); !held)
    return failed(held.error());
  const auto settings = read_build_settings(STDIN_FILENO, sys::now() + kSettingsTimeout);
  if (!settings) return failed(settings.error());
  std::stop_source gone;
  sys::Command command;
  command.argv = {"nix-store", "--realise", request.drv.str(), "--log-format", "internal-json"};
  command.environment = {"LC_ALL=C", "NO_COLOR=1", nix_config_with(*settings)};
  command.stop = gone.get_token();
  command.on_stderr_line = [&gone](std::string_view line) {
    const std::string whole = std::string(line.substr(0, kLineMax)) + "\n";
    if (!sys::write_all(STDOUT_FILENO, whole, sys::now() + kWriteTimeout)) gone.request_stop();
  };
  const std::jthread watcher([&gone](std::stop_token leave) { watch_input(std::move(leave), gone); });
  const auto result = sys::run(command, sys::now() + kBuildTimeout);
  if (!result) return failed(result.error());
  if (result->exit_code != 0)
    return failed({ErrorKind::kFailed, "nix-store ended by " + sys::describe_exit(*result)});
  const auto valid = run_tool_checked({"nix-store", "--check-validity", request.out.str()}, kCheckTimeout);
  if (!valid) return failed(valid.error().with_context("the build gave no " + request.out.str()));
  const auto synced = sync_store(places.store_dir);
  return synced ? 0 : failed(synced.error());
}

}  // namespace flurry::agent
