#pragma once

#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/fleet.h"
#include "core/result.h"
#include "eval/json_reader.h"

namespace flurry::eval {

// What is known besides a fleet's JSON of how it was read.
struct Reading {
  std::map<std::string, Error> unread;  // hosts that Nix couldn't tell about; what is there of them is a part
  std::vector<std::string> names;       // of all hosts, where the JSON has only some; empty: it has all
  bool is_selected = false;             // it has only those that are wanted
  bool needs_tags = false;              // a selector goes by tags: what is wrong in them is everybody's
};

// Reads one host's JSON into `host`, which is a copy of the defaults with its name.
using HostReader = std::function<Result<void>(const std::string& place, const Json& json, HostConfig& host)>;

// Where hosts stand, for messages.
struct HostsPlace {
  std::string set;            // "flurry.hosts"
  std::string settings = {};  // ".deployment": what is read of a host stands in this
  std::string example;        // of how to add one
};

// Reads the attributes of `hosts` into `fleet.hosts`. What is wrong with one is that host's own error; an
// entry whose name can't be a host's is left out, with a note.
Result<void> read_hosts(const Json& hosts, const HostsPlace& place, const HostConfig& defaults,
                        const Reading& reading, const HostReader& read, Fleet& fleet);

// The name of one entry; none, and noted in the fleet, where it can't be a host's.
std::optional<HostName> host_name(const std::string& name, const std::string& set, Fleet& fleet);

// Refuses a fleet without hosts, or with too many.
Result<void> check_count(size_t entries, const HostsPlace& place);
Result<void> check_names(const Fleet& fleet, const std::string& set);

}  // namespace flurry::eval
