#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/fleet.h"
#include "core/profile.h"
#include "core/result.h"

namespace flurry::eval {

// A place in the flake where something stands for each host.
struct EvalPlace {
  std::string output;  // of the flake; "deploy.nodes" passes by a package that is named "deploy"
  // Nix, in which `f` is that output, `h` the host's name and `n` what is asked about it: the answer's text,
  // without line breaks.
  std::string answer;
  bool operator==(const EvalPlace&) const = default;
};

// What is asked about one host in one place, in this order. An error is the answer to all that is left.
struct EvalTask {
  size_t place;
  size_t host;  // the caller's index
  std::string name;
  std::vector<std::string> questions;  // never empty; nothing in them or in the name needs escaping in Nix
};

struct EvalTasks {
  std::vector<EvalPlace> places;
  std::vector<EvalTask> tasks;  // those of one place stand together
};

// For the derivations of all profiles of these hosts; the questions are the profiles' names.
EvalTasks make_tasks(const Fleet& fleet, const std::vector<size_t>& hosts);

// Nix that takes the place's output and answers these "HOST QUESTION"s in order. It traces "MARKER begin HOST
// QUESTION" before each and "MARKER done HOST QUESTION ANSWER" after it; what is too long for a line comes in
// "MARKER part HOST QUESTION TEXT" before that.
std::string expression_of(const EvalPlace& place, const std::string& marker,
                          const std::vector<std::string>& names);

struct DerivationPaths {
  StorePath drv;  // the output itself, where the flake names a path of the store that is there already
  StorePath out;
};
// Reads "DRV OUT".
Result<DerivationPaths> parse_paths(std::string_view text);

}  // namespace flurry::eval
