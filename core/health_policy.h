#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "core/time.h"

namespace flurry {

// What a host must do after an activation for the activation to stand (CONTRACT section 2.6). Plain
// values; the flake's reader has checked every bound given here.

constexpr size_t kHealthChecksMax = 64;  // a host; each may hold a connection or a process

// The answer to one request. It passes when its status fits, and its body holds `body`.
struct HttpCheck {
  std::string url;  // http:// or https://
  std::string method = "GET";
  std::vector<std::pair<std::string, std::string>> headers;  // sorted by name
  std::vector<uint16_t> status;                              // any of these; empty: any of 200-299
  std::string body;                                          // text that the answer must hold; empty: any
  bool insecure_tls = false;
  bool operator==(const HttpCheck&) const = default;
};

// A connection that is accepted. An IPv6 address stands without its brackets.
struct TcpCheck {
  std::string host;
  uint16_t port = 0;
  bool operator==(const TcpCheck&) const = default;
};

// A program that exits 0. A string in the flake becomes {"sh", "-c", string}.
struct CommandCheck {
  std::vector<std::string> argv;  // never empty
  bool operator==(const CommandCheck&) const = default;
};

// A systemd unit that is active.
struct UnitCheck {
  std::string unit;  // with its suffix: "postgresql.service"
  bool operator==(const UnitCheck&) const = default;
};

// grpc.health.v1 answering SERVING.
struct GrpcCheck {
  std::string host;
  uint16_t port = 0;
  std::string service;  // empty: the server as a whole
  bool operator==(const GrpcCheck&) const = default;
};

enum class CheckFrom { kHost, kController };
enum class Severity {
  kRequired,  // decides over the activation
  kWanted,    // is reported
};

struct HealthCheck {
  std::string name;
  std::variant<HttpCheck, TcpCheck, CommandCheck, UnitCheck, GrpcCheck> kind;
  CheckFrom from = CheckFrom::kHost;
  Severity severity = Severity::kRequired;
  Millis interval{2000};
  Millis timeout{5000};  // of one try
  Millis initial_delay{0};
  uint32_t success_threshold = 1;  // tries in a row, at least 1
  uint32_t failure_threshold = 3;
  bool operator==(const HealthCheck&) const = default;
};

enum class FailedUnits {
  kNew,     // units that fail now and did not before: not healthy
  kAny,     // any failed unit: not healthy
  kIgnore,  // failed units are not looked at
};

// How long all must hold where nobody says: checks may flap, units that have settled seldom do.
inline constexpr Millis kMinHealthyWithChecks{10'000};
inline constexpr Millis kMinHealthyWithoutChecks{2'000};

struct HealthPolicy {
  std::optional<Millis> min_healthy;  // as configured; never more than deadline
  Millis deadline{120'000};           // counted from the end of the switch
  FailedUnits failed_units = FailedUnits::kNew;
  std::vector<HealthCheck> checks;  // sorted by name; at most kHealthChecksMax

  // How long checks and units must hold.
  Millis healthy_for() const {
    const Millis usual = checks.empty() ? kMinHealthyWithoutChecks : kMinHealthyWithChecks;
    return min_healthy.value_or(std::min(usual, deadline));
  }
  bool operator==(const HealthPolicy&) const = default;
};

}  // namespace flurry
