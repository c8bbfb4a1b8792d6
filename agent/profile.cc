#include "agent/profile.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>

#include "agent/file_io.h"
#include "agent/nixos_system.h"
#include "agent/tools.h"

namespace flurry::agent {
namespace {

namespace fs = std::filesystem;

constexpr Millis kNixEnvTimeout{60'000};
constexpr Millis kToolTimeout{20'000};
constexpr size_t kNoteMax = 1024;
constexpr const char* kHomeManager = "home-manager";

std::vector<std::string> split(const std::string& line, char separator) {
  std::vector<std::string> out(1);
  for (const char c : line) {
    if (c == separator)
      out.emplace_back();
    else
      out.back() += c;
  }
  return out;
}

bool is_number(const std::string& text) {
  return !text.empty() && text.size() <= 10 && text.find_first_not_of("0123456789") == std::string::npos;
}

// Runs what touches the profile's link as the user whose it is.
Result<void> run_for(const ProfileRef& profile, std::vector<std::string> argv, Millis timeout) {
  if (profile.user != "root") {
    ASSIGN_OR_RETURN(const Account account, find_account(profile.user));
    argv = as_user(account, std::move(argv));
  }
  RETURN_IF_ERROR(run_tool_checked(std::move(argv), timeout));
  return {};
}

// A link's path may be longer than a file's name can be.
std::string note_file(const Paths& paths, const ProfileRef& profile) {
  return paths.unactivated() + "/" + sha256_hex(profile.path);
}

std::string generation_link(const std::string& link, uint64_t number) {
  return link + "-" + std::to_string(number) + "-link";
}

// What a closure's activation script makes a generation of, where the closure only wraps it: home-manager's
// sets its profile by itself, to what it was built for.
std::optional<StorePath> wrapped_home(const Paths& paths, const StorePath& closure) {
  const auto script = real_path(paths.root, closure.str() + "/activate");
  if (!script) return std::nullopt;
  auto home = StorePath::parse(fs::path(*script).parent_path().string());
  if (!home || *home == closure) return std::nullopt;
  return *std::move(home);
}

Result<void> forget_generations(const Paths& paths, const ProfileRef& profile,
                                const std::vector<StorePath>& closures, long long since_unix_ms) {
  const auto present = read_profile(paths.root, profile.path).generation;
  std::vector<std::string> argv = {"nix-env", "-p", paths.root + profile.path, "--delete-generations"};
  const size_t none = argv.size();
  for (const auto& made : list_generations(paths.root, profile.path)) {
    const bool is_of_these = std::any_of(closures.begin(), closures.end(), [&](const StorePath& closure) {
      return made.path == closure.str();
    });
    if (is_of_these && made.number != present && made.created_unix_ms >= since_unix_ms)
      argv.push_back(std::to_string(made.number));
  }
  if (argv.size() == none) return {};
  return run_for(profile, std::move(argv), kNixEnvTimeout);
}

// A generation that this deployment made and that was not committed is none: whoever goes back later, by
// flurry, by hand or in the boot menu, would end on it.
Result<void> forget_generation(const Paths& paths, const ProfileRef& profile, const StorePath& closure,
                               long long since_unix_ms) {
  std::vector<StorePath> made = {closure};
  if (const auto home = wrapped_home(paths, closure); home && !profile.is_system()) made.push_back(*home);
  return forget_generations(paths, profile, made, since_unix_ms);
}

Result<void> switch_generation(const Paths& paths, const ProfileRef& profile, uint64_t number) {
  return run_for(profile,
                 {"nix-env", "-p", paths.root + profile.path, "--switch-generation", std::to_string(number)},
                 kNixEnvTimeout);
}

}  // namespace

// By a program of the host: a static one can't load what the host's name service may need.
Result<Account> find_account(const std::string& user) {
  ASSIGN_OR_RETURN(const auto found, run_tool({"getent", "passwd", "--", user}, kToolTimeout));
  const auto fields = split(found.standard_output.substr(0, found.standard_output.find('\n')), ':');
  const bool is_whole = found.exit_code == 0 && fields.size() >= 7 && fields[0] == user &&
                        is_number(fields[2]) && is_number(fields[3]) && fields[5].starts_with('/');
  if (!is_whole) return Error{ErrorKind::kInvalidInput, "there is no user " + user + " on this host"};
  return Account{user, fields[2], fields[3], fields[5]};
}

std::vector<std::string> as_user(const Account& account, std::vector<std::string> argv) {
  std::vector<std::string> out = {
      "setpriv", "--reuid=" + account.uid, "--regid=" + account.gid, "--init-groups",          "--",
      "env",     "HOME=" + account.home,   "USER=" + account.name,   "LOGNAME=" + account.name};
  // The user's own service manager and bus, where the user is logged in or lingers.
  const std::string runtime = "/run/user/" + account.uid;
  if (::access(runtime.c_str(), F_OK) == 0) {
    out.push_back("XDG_RUNTIME_DIR=" + runtime);
    out.push_back("DBUS_SESSION_BUS_ADDRESS=unix:path=" + runtime + "/bus");
  }
  out.insert(out.end(), argv.begin(), argv.end());
  return out;
}

// home-manager's lies where its own script looks for it. Any other stays where it is; a new one goes where
// this user's others are. On hosts where anybody may make a directory for anybody, one that belongs to
// somebody else is not the user's.
std::string default_profile_path(const Paths& paths, const Account& account, const std::string& name) {
  const std::string directory = "/nix/var/nix/profiles/per-user/" + account.name;
  const std::string shared = directory + "/" + name;
  const std::string own = account.home + "/.local/state/nix/profiles/" + name;
  struct stat info {};
  const bool is_theirs = ::lstat((paths.root + directory).c_str(), &info) == 0 && S_ISDIR(info.st_mode) &&
                         std::to_string(info.st_uid) == account.uid;
  if (account.name == "root") return shared;
  if (name == kHomeManager)
    return ::stat(fs::path(paths.root + own).parent_path().c_str(), &info) == 0 && S_ISDIR(info.st_mode) ? own
           : is_theirs ? shared
                       : own;
  if (is_theirs && ::lstat((paths.root + shared).c_str(), &info) == 0) return shared;
  const bool has_own = ::lstat((paths.root + own).c_str(), &info) == 0;
  return is_theirs && !has_own ? shared : own;
}

ActivationKind activation_kind(const Paths& paths, const StorePath& closure) {
  const std::string directory = paths.root + closure.str();
  if (::access((directory + "/deploy-rs-activate").c_str(), X_OK) == 0) return ActivationKind::kScript;
  if (::access((directory + "/activate").c_str(), X_OK) == 0) return ActivationKind::kActivate;
  return ActivationKind::kNone;
}

Result<ActivationCommand> activation_command(const Paths& paths, const ProfileRef& profile,
                                             const StorePath& closure, effect::SwitchAction action) {
  using effect::SwitchAction;
  const bool is_dry = action == SwitchAction::kDryActivate;
  const std::string link = is_dry ? closure.str() : profile.path;
  ActivationCommand out{{}, link};
  switch (activation_kind(paths, closure)) {
    case ActivationKind::kNone:
      return ActivationCommand{};
    case ActivationKind::kScript:
      out.argv = {"env", "PROFILE=" + link, std::string("DRY_ACTIVATE=") + (is_dry ? "1" : "0"),
                  std::string("BOOT=") + (action == SwitchAction::kBoot ? "1" : "0"),
                  closure.str() + "/deploy-rs-activate"};
      break;
    case ActivationKind::kActivate:
      if (action == SwitchAction::kBoot) return ActivationCommand{};  // it knows nothing of booting
      out.argv = {closure.str() + "/activate"};
      if (is_dry) out.argv = {"env", "DRY_RUN=1", closure.str() + "/activate"};
      break;
  }
  if (profile.user == "root") return out;
  ASSIGN_OR_RETURN(const Account account, find_account(profile.user));
  out.argv = as_user(account, std::move(out.argv));
  return out;
}

Result<void> note_unactivated(const Paths& paths, const ProfileRef& profile, const StorePath& closure) {
  if (activation_kind(paths, closure) == ActivationKind::kNone) {
    note_activated(paths, profile);
    return {};
  }
  RETURN_IF_ERROR(make_private_dir(paths.unactivated()));
  return write_file_durably(note_file(paths, profile), closure.str());
}

// Where the note can't be taken away, the worst is that an activation is run once more.
void note_activated(const Paths& paths, const ProfileRef& profile) {
  if (::unlink(note_file(paths, profile).c_str()) == 0) [[maybe_unused]]
    const auto synced = sync_dir(paths.unactivated());
}

bool is_activated(const Paths& paths, const ProfileRef& profile, const ProfileState& state) {
  const auto noted = read_file(note_file(paths, profile), kNoteMax);
  return !noted || !state.path || *noted != state.path->str();
}

Result<void> set_profile(const Paths& paths, const ProfileRef& profile, const StorePath& closure) {
  const std::string link = paths.root + profile.path;
  if (read_profile(paths.root, profile.path).path == closure) return {};
  if (!profile.is_system()) RETURN_IF_ERROR(note_unactivated(paths, profile, closure));
  RETURN_IF_ERROR(
      run_for(profile, {"mkdir", "-p", "--", fs::path(link).parent_path().string()}, kToolTimeout));
  return run_for(profile, {"nix-env", "-p", link, "--set", closure.str()}, kNixEnvTimeout);
}

Result<void> settle_profile(const Paths& paths, const ProfileRef& profile, const StorePath& closure,
                            long long since_unix_ms) {
  const auto home = wrapped_home(paths, closure);
  if (!home || profile.is_system()) return {};
  if (read_profile(paths.root, profile.path).path == home) {
    std::optional<uint64_t> ours;
    for (const auto& made : list_generations(paths.root, profile.path))
      if (made.path == closure.str()) ours = made.number;
    if (!ours) return {};  // somebody has deleted it, or set the profile to another one
    RETURN_IF_ERROR(switch_generation(paths, profile, *ours));
  }
  return forget_generations(paths, profile, {*home}, since_unix_ms);
}

Result<void> restore_profile(const Paths& paths, const ProfileRef& profile, const ProfileState& before,
                             const StorePath& new_path, long long since_unix_ms) {
  const std::string link = paths.root + profile.path;
  const ProfileState present = read_profile(paths.root, profile.path);
  if (present.path == before.path && present.generation == before.generation)
    return forget_generation(paths, profile, new_path, since_unix_ms);
  if (before.generation && before.path) {
    const auto switched = switch_generation(paths, profile, *before.generation);
    // Somebody may have deleted old generations meanwhile; the closure is held by our own root.
    if (!switched || read_profile(paths.root, profile.path).path != before.path)
      RETURN_IF_ERROR(set_profile(paths, profile, *before.path));
    return forget_generation(paths, profile, new_path, since_unix_ms);
  }
  // A link that named its closure without generations, or none at all: as it was, and none of ours.
  if (before.path && profile.user == "root") return replace_link(link, before.path->str());
  if (before.path) return run_for(profile, {"ln", "-sfnT", "--", before.path->str(), link}, kToolTimeout);
  std::vector<std::string> remove = {"rm", "-f", "--", link};
  for (const auto& made : list_generations(paths.root, profile.path))
    if (made.path == new_path.str()) remove.push_back(generation_link(link, made.number));
  return run_for(profile, std::move(remove), kToolTimeout);
}

}  // namespace flurry::agent
