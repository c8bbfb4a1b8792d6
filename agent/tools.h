#pragma once

#include <map>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/sys/subprocess.h"

namespace flurry::agent {

// Where a host's programs are found: NixOS first, then a plain distribution.
inline constexpr const char* kToolPath =
    "/run/current-system/sw/bin:/nix/var/nix/profiles/default/bin:/run/wrappers/bin:"
    "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

// Makes the process and its children look for programs there, and nowhere else. Before any thread.
void use_tool_path();

// Runs a program with no input and 4 MiB of output at most.
Result<sys::CommandResult> run_tool(std::vector<std::string> argv, Millis timeout);
Result<std::string> run_tool_checked(std::vector<std::string> argv, Millis timeout);

// A service that systemd starts from nothing but this, and that outlives whoever asked for it.
struct TransientUnit {
  std::string name;  // without ".service"
  std::string description;
  std::vector<std::string> properties;   // "Restart=on-failure"
  std::vector<std::string> where_known;  // as properties; left out where this host's systemd knows none such
  std::vector<std::string> environment;  // "NAME=value"
  std::vector<std::string> argv;
};

// Returns when the unit runs (or, where Type=notify, says that it is ready).
Result<void> start_unit(const TransientUnit& unit);

// Of the units that systemd has loaded and that a shell pattern matches, those that are active, on their way
// there, or on their way out. Nothing is loaded for the question: where a transient unit is gone, systemd may
// still remember its file, and complains that it can't be opened.
Result<std::vector<std::string>> running_units(const std::string& pattern);

// True where it is active, on its way there, or on its way out.
Result<bool> is_unit_running(const std::string& unit);

// Stops it and waits until it is gone; fine where there is none.
Result<void> stop_unit(const std::string& unit);

// As stop_unit, for a transient service that is nothing without its processes: they get SIGTERM, and
// `patience` to end. Only then is it stopped; `systemctl stop` names the unit once more, when it may be gone.
Result<void> end_unit(const std::string& unit, Millis patience);

// Returns true as soon as it does not run; false after `patience`.
Result<bool> wait_for_end(const std::string& unit, Millis patience);

// The values of some properties of one loaded unit, or of systemd itself where `unit` is empty; what it
// doesn't know is missing.
Result<std::map<std::string, std::string>> unit_properties(const std::string& unit,
                                                           const std::vector<std::string>& names);

}  // namespace flurry::agent
