// The output of `ssh -G`, and with it whatever stands in a user's configuration.
#include "cli/ssh/ssh_config.h"

#include "tests/fuzz/fuzz.h"

namespace flurry::fuzz {

void run_one(std::string_view text) {
  const auto config = ssh::parse_ssh_config(text, "web", "/nonexistent", "/run/agent");
  if (!config) return check_told(config.error(), text.size());
  FLURRY_CHECK(!config->hostname.empty() && config->hostname.front() != '-' && !config->user.empty());
  FLURRY_CHECK(config->port != 0 && config->connect_timeout_s >= 0);
  FLURRY_CHECK(config->hostname.find_first_of(std::string("\n\0", 2)) == std::string::npos);
  FLURRY_CHECK(config->user_known_hosts.size() + config->program_only.size() <= text.size());
}

}  // namespace flurry::fuzz
