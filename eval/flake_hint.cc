#include "eval/flake_hint.h"

#include <filesystem>
#include <initializer_list>
#include <string_view>
#include <system_error>

#include "core/spelling.h"

namespace flurry::eval {
namespace {

namespace fs = std::filesystem;

bool says(const std::string& message, std::initializer_list<std::string_view> words) {
  for (const auto word : words)
    if (message.find(word) != std::string::npos) return true;
  return false;
}

// The folder or file that a reference names on this machine; empty: it names something elsewhere.
fs::path local_path(const std::string& flake_ref) {
  std::string_view text = flake_ref;
  if (text.starts_with("path:")) text.remove_prefix(5);
  text = text.substr(0, text.find('?'));
  if (text.empty() || (text.front() != '/' && text.front() != '.')) return {};
  return fs::path(text);
}

// "nosuchdir", "a/b/c": a folder's name without the ./ that Nix wants before it.
bool is_bare_path(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.front() != '/' && name.find(':') == std::string::npos;
}

// What stands there instead of a flake.
std::string missing_flake_hint(const fs::path& path) {
  std::error_code ignored;
  const bool is_file = fs::is_regular_file(path, ignored);
  const fs::path folder = is_file ? path.parent_path() : path;
  const auto has = [&](const char* name) { return fs::exists(folder / name, ignored); };
  if (!fs::exists(path, ignored)) return "there is no such folder: name the one that holds flake.nix";
  if (is_file && path.filename() == "flake.nix") return "name the folder that flake.nix is in, not the file";
  if (path.filename() == "hive.nix" || has("hive.nix"))
    return "hive.nix is a hive outside of a flake: write a flake.nix beside it with colmenaHive = "
           "colmena.lib.makeHive (import ./hive.nix)";
  if (path.filename() == "configuration.nix" || has("configuration.nix"))
    return "configuration.nix alone names no hosts: write a flake.nix beside it with "
           "nixosConfigurations.NAME = "
           "nixpkgs.lib.nixosSystem { modules = [ ./configuration.nix ]; }";
  return "no flake is there: name the folder that holds flake.nix, or write one";
}

}  // namespace

std::string flake_hint(const std::string& flake_ref, const std::string& nix_message) {
  std::string hint;
  const fs::path path = local_path(flake_ref);
  std::error_code ignored;
  const bool no_flake = says(nix_message, {"could not find a flake.nix", "does not contain a 'flake.nix'",
                                           "is not a flake", "No such file or directory", "does not exist"});
  const bool no_entry = says(nix_message, {"flake-registry", "flake registries"});
  const std::string name = flake_ref.substr(0, flake_ref.find('?'));
  if (path.empty() && (no_entry || no_flake) && is_bare_path(name) &&
      fs::is_regular_file(fs::path(name), ignored))
    hint = missing_flake_hint(fs::path("./" + name));
  else if (path.empty() && no_entry && fs::exists(fs::path(name), ignored))
    hint = "Nix takes this for a name in its registry; a folder begins with ./ or /: write ./" + name;
  else if (is_bare_path(name) && (no_entry || says(nix_message, {"is not a commit hash", "is not a branch"})))
    hint = (fs::exists(fs::path(name), ignored) ? "" : quote(name) + " is no folder here; ") +
           "Nix takes this for a name in its registry; a folder begins with ./ or /: write ./" + name;
  else if (says(nix_message, {"syntax error"}))
    hint = "mend the file at the place that Nix shows, then run this again";
  else if (says(nix_message, {"lacks attribute 'outputs'", "does not have an 'outputs'"}))
    hint = "add outputs = { self, ... }: { nixosConfigurations = ...; } to flake.nix";
  else if (says(nix_message, {"called without required argument"}))
    hint = "the outputs function asks for an input that 'inputs' doesn't declare, or is called without it";
  else if (!path.empty() && no_flake && !fs::exists(path / "flake.nix", ignored))
    hint = missing_flake_hint(path);
  else if (says(nix_message, {"flake-registry", "flake registries", "unable to download"}))
    hint =
        "an input can't be fetched: give it a URL that this machine reaches (inputs.NAME.url = ...), or lock "
        "it "
        "where it can be fetched (nix flake lock) and commit flake.lock";
  else if (no_flake && !says(nix_message, {"-source/"}))
    hint = "an input of the flake isn't where inputs.NAME.url says: mend the URL";
  return hint.empty() ? "" : "\n(" + hint + ")";
}

}  // namespace flurry::eval
