#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace flurry {

// What a run of switch-to-configuration printed about itself, as nixpkgs's program has printed it since 2024
// (docs/nixos.md). It names what failed; it proves nothing.
struct SwitchReport {
  struct Job {
    std::string type;  // "start", "stop", "restart", "reload"
    std::string unit;
    bool operator==(const Job&) const = default;
  };

  // A line that it prints only once it has begun to stop units or to activate.
  bool has_begun = false;
  // The activation script, or a snippet of it, failed.
  bool has_activation_failed = false;
  std::vector<Job> failed_jobs;           // each once
  std::vector<std::string> failed_units;  // in the failed state at its end, whoever made them fail
  std::vector<std::string> failed_users;  // users whose own activation failed
  std::vector<std::string> queued_units;  // it stopped, started, restarted or reloaded them

  // True where a line explains exit code 4.
  bool explains_failure() const {
    return has_activation_failed || !failed_jobs.empty() || !failed_units.empty() || !failed_users.empty();
  }
};

// Never fails: lines that it doesn't know are passed over. Takes at most 1,000 names of a kind. Any thread.
SwitchReport parse_switch_report(std::string_view output);

}  // namespace flurry
