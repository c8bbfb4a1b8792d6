#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/fleet.h"
#include "core/profile.h"
#include "core/result.h"

namespace flurry::eval {

// Where in the flake a profile's closure stands.
enum class Source { kNixosConfigurations, kFlurry, kDeployRs, kColmena };

// What stands in one place of the flake for one host.
struct EvalTask {
  Source source;
  size_t host;                   // index into fleet.hosts
  std::vector<size_t> profiles;  // indexes into ordered_profiles(); never empty
};

// The tasks of these hosts; those of one source stand together.
std::vector<EvalTask> make_tasks(const Fleet& fleet, const std::vector<size_t>& hosts);

// The flake's output that the source reads.
const char* output_of(Source source);

// Nix that takes this output and evaluates these "HOST PROFILE"s of it in order. It traces "MARKER begin HOST
// PROFILE" and "MARKER done HOST PROFILE DRV OUT" around each.
std::string expression_of(Source source, const std::string& marker, const std::vector<std::string>& names);

struct DerivationPaths {
  StorePath drv;
  StorePath out;
};
// Reads "DRV OUT".
Result<DerivationPaths> parse_paths(std::string_view text);

}  // namespace flurry::eval
