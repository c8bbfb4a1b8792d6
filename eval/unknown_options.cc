#include "eval/unknown_options.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/spelling.h"
#include "eval/json_reader.h"

namespace flurry::eval {
namespace {

// With the older names that Nix still takes.
std::vector<std::string> names_of(const Json& settings) {
  std::vector<std::string> names;
  for (const auto& [name, setting] : settings.items()) {
    names.push_back(name);
    if (!setting.is_object() || !setting.contains("aliases") || !setting["aliases"].is_array()) continue;
    for (const auto& alias : setting["aliases"])
      if (alias.is_string()) names.push_back(alias.get<std::string>());
  }
  return names;
}

}  // namespace

Result<void> check_overrides(const EvalOptions& options, std::string_view standard_error) {
  Mistakes mistakes;
  for (const auto& [name, flake] : options.override_inputs)
    if (standard_error.find("'--override-input " + name + " " + flake + "' does not match any input") !=
        std::string_view::npos)
      mistakes.add(Error{ErrorKind::kInvalidInput,
                         "--override-input " + name + ": the flake has no input of this name"});
  return mistakes.result();
}

Result<void> check_settings(const EvalOptions& options, std::string_view settings) {
  const auto root = parse_json(settings, "nix show-config");
  if (!root || !root->is_object() || root->empty()) return {};
  const auto names = names_of(*root);
  Mistakes mistakes;
  for (const auto& [name, value] : options.nix_options) {
    // "extra-NAME" adds to the setting NAME.
    const std::string plain = name.starts_with("extra-") ? name.substr(6) : name;
    const auto is_known = [&](const std::string& one) { return one == name || one == plain; };
    if (std::none_of(names.begin(), names.end(), is_known))
      mistakes.add(Error{ErrorKind::kInvalidInput, "--option " + name + ": Nix has no setting of this name" +
                                                       did_you_mean(plain, names)});
  }
  return mistakes.result();
}

}  // namespace flurry::eval
