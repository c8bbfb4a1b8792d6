#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/health_policy.h"
#include "core/result.h"

namespace flurry::agent {

// The words of a probe's command line (probe.h) and the URL among them. Any thread.

struct ProbeArguments {
  HttpCheck http;
  long timeout_ms = 5000;
  std::vector<std::string> rest;
};

// Nothing: these are not the words of a probe.
std::optional<ProbeArguments> parse_probe_arguments(const std::vector<std::string>& words);

struct Url {
  bool is_tls = false;
  std::string host;
  std::string port;
  std::string target;
};

Result<Url> parse_url(std::string_view text);

}  // namespace flurry::agent
