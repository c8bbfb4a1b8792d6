#include "eval/health_json.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/names.h"
#include "eval/json_reader.h"

namespace flurry::eval {
namespace {

constexpr Millis kTryMin{100};  // shorter would be a busy loop on the host
constexpr Millis kTryMax = std::chrono::hours(1);
constexpr int64_t kThresholdMax = 1000;
// The agent takes no more (core/wire/health.cc), and would say so only after the copy.
constexpr size_t kNameMax = 128;
constexpr size_t kAddressMax = 256;
constexpr size_t kUnitMax = 255;

template <typename T, auto Member, int64_t MinMs, int64_t MaxMs>
Result<void> duration_field(const Json& value, const std::string& place, T& into) {
  ASSIGN_OR_RETURN(into.*Member, read_duration(value, place, Millis(MinMs), Millis(MaxMs)));
  return {};
}

template <auto Member>
Result<void> threshold_field(const Json& value, const std::string& place, HealthCheck& into) {
  ASSIGN_OR_RETURN(const int64_t number, read_integer(value, place, 1, kThresholdMax));
  into.*Member = static_cast<uint32_t>(number);
  return {};
}

struct Address {
  std::string host;
  uint16_t port;
};

// "host:port", "[::1]:port".
Result<Address> parse_address(const std::string& text, const std::string& place) {
  const auto bad = [&] { return wrong(place, quote(text) + " is no address: write \"host:port\""); };
  const size_t colon = text.rfind(':');
  if (colon == std::string::npos || text.find_first_of(" /@") != std::string::npos) return bad();
  std::string host = text.substr(0, colon);
  const std::string port = text.substr(colon + 1);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  if (host.empty() || (!bracketed && host.find(':') != std::string::npos)) return bad();
  if (host.front() == '-' || host.size() > kAddressMax) return bad();
  if (port.empty() || port.size() > 5 || port.find_first_not_of("0123456789") != std::string::npos)
    return bad();
  const int number = std::stoi(port);
  if (number < 1 || number > 65535) return wrong(place, "the port must be 1 to 65535, is " + port);
  return Address{std::move(host), static_cast<uint16_t>(number)};
}

Result<void> read_url(const Json& value, const std::string& place, HttpCheck& into) {
  ASSIGN_OR_RETURN(into.url, read_text(value, place));
  const bool scheme = into.url.starts_with("http://") || into.url.starts_with("https://");
  if (!scheme || into.url.ends_with("//"))
    return wrong(place, quote(into.url) + " must start with http://HOST or https://HOST");
  if (into.url.find(' ') != std::string::npos) return wrong(place, "must not hold blanks");
  return {};
}

Result<void> read_method(const Json& value, const std::string& place, HttpCheck& into) {
  static const std::vector<std::string> kMethods{"GET", "HEAD", "POST", "PUT", "OPTIONS"};
  ASSIGN_OR_RETURN(const size_t index, read_word(value, place, kMethods));
  into.method = kMethods[index];
  return {};
}

Result<void> read_headers(const Json& value, const std::string& place, HttpCheck& into) {
  RETURN_IF_ERROR(expect_object(value, place));
  if (value.size() > kListMax) return wrong(place, "has more than " + std::to_string(kListMax) + " entries");
  into.headers.clear();
  for (auto it = value.begin(); it != value.end(); ++it) {
    if (is_unset(it.value())) continue;
    const std::string here = place_of(place, it.key());
    const bool token = !it.key().empty() && std::all_of(it.key().begin(), it.key().end(), [](char c) {
      return c > 0x20 && c < 0x7f &&
             std::string_view("\"(),/:;<=>?@[\\]{}").find(c) == std::string_view::npos;
    });
    if (!token || it.key().size() > kNameMax) return wrong(here, "is no HTTP header name");
    ASSIGN_OR_RETURN(auto text, read_text(it.value(), here));
    into.headers.emplace_back(it.key(), std::move(text));
  }
  return {};
}

Result<void> read_status(const Json& value, const std::string& place, HttpCheck& into) {
  const Json list = value.is_array() ? value : Json::array({value});
  if (list.empty() || list.size() > kListMax)
    return wrong(place, "must have 1 to " + std::to_string(kListMax) + " entries");
  into.status.clear();
  for (const auto& entry : list) {
    ASSIGN_OR_RETURN(const int64_t status, read_integer(entry, place, 100, 599));
    into.status.push_back(static_cast<uint16_t>(status));
  }
  return {};
}

Result<void> read_body(const Json& value, const std::string& place, HttpCheck& into) {
  ASSIGN_OR_RETURN(into.body, read_block(value, place));
  return {};
}

Result<void> read_insecure(const Json& value, const std::string& place, HttpCheck& into) {
  ASSIGN_OR_RETURN(into.insecure_tls, read_bool(value, place));
  return {};
}

constexpr Field<HttpCheck> kHttpFields[] = {
    {"url", read_url},       {"method", read_method}, {"headers", read_headers},
    {"status", read_status}, {"body", read_body},     {"insecureTls", read_insecure},
};

Result<void> read_http(const Json& value, const std::string& place, HealthCheck& into) {
  if (value.is_string()) return wrong(place, "must be an attribute set: write http.url = " + value.dump());
  HttpCheck http;
  if (const auto* old = std::get_if<HttpCheck>(&into.kind)) http = *old;
  RETURN_IF_ERROR(read_fields<HttpCheck>(value, place, kHttpFields, http));
  if (http.url.empty()) return wrong(place + ".url", "is missing");
  into.kind = std::move(http);
  return {};
}

Result<void> read_tcp(const Json& value, const std::string& place, HealthCheck& into) {
  ASSIGN_OR_RETURN(const auto text, read_text(value, place));
  ASSIGN_OR_RETURN(auto address, parse_address(text, place));
  into.kind = TcpCheck{std::move(address.host), address.port};
  return {};
}

Result<void> read_command(const Json& value, const std::string& place, HealthCheck& into) {
  if (value.is_string()) {
    ASSIGN_OR_RETURN(const auto script, read_block(value, place));
    if (script.empty()) return wrong(place, "must not be empty");
    into.kind = CommandCheck{{"sh", "-c", script}};
    return {};
  }
  ASSIGN_OR_RETURN(auto argv, read_text_or_texts(value, place));
  if (argv.empty()) return wrong(place, "must not be empty");
  into.kind = CommandCheck{std::move(argv)};
  return {};
}

Result<void> read_unit(const Json& value, const std::string& place, HealthCheck& into) {
  ASSIGN_OR_RETURN(auto unit, read_text(value, place));
  const std::string_view suffix =
      unit.find('.') == std::string::npos ? ".service" : "";  // as systemctl has it
  const bool legal = unit.size() + suffix.size() <= kUnitMax && unit.front() != '-' &&
                     std::all_of(unit.begin(), unit.end(), [](char c) {
                       return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                              std::string_view(":-_.\\@").find(c) != std::string_view::npos;
                     });
  if (!legal) return wrong(place, quote(unit) + " is no unit name");
  into.kind = UnitCheck{unit.append(suffix)};
  return {};
}

Result<void> read_grpc_address(const Json& value, const std::string& place, GrpcCheck& into) {
  ASSIGN_OR_RETURN(const auto text, read_text(value, place));
  ASSIGN_OR_RETURN(auto address, parse_address(text, place));
  into.host = std::move(address.host);
  into.port = address.port;
  return {};
}

Result<void> read_grpc_service(const Json& value, const std::string& place, GrpcCheck& into) {
  ASSIGN_OR_RETURN(into.service, read_text(value, place));
  return {};
}

constexpr Field<GrpcCheck> kGrpcFields[] = {{"address", read_grpc_address}, {"service", read_grpc_service}};

Result<void> read_grpc(const Json& value, const std::string& place, HealthCheck& into) {
  GrpcCheck grpc;
  if (value.is_object())
    RETURN_IF_ERROR(read_fields<GrpcCheck>(value, place, kGrpcFields, grpc));
  else
    RETURN_IF_ERROR(read_grpc_address(value, place, grpc));
  if (grpc.host.empty()) return wrong(place + ".address", "is missing");
  into.kind = std::move(grpc);
  return {};
}

Result<void> read_from(const Json& value, const std::string& place, HealthCheck& into) {
  ASSIGN_OR_RETURN(const size_t index, read_word(value, place, {"host", "controller"}));
  into.from = index == 0 ? CheckFrom::kHost : CheckFrom::kController;
  return {};
}

Result<void> read_severity(const Json& value, const std::string& place, HealthCheck& into) {
  ASSIGN_OR_RETURN(const size_t index, read_word(value, place, {"required", "wanted"}));
  into.severity = index == 0 ? Severity::kRequired : Severity::kWanted;
  return {};
}

constexpr int64_t kTryMinMs = kTryMin.count();
constexpr int64_t kTryMaxMs = kTryMax.count();
constexpr std::string_view kKinds[] = {"http", "tcp", "command", "unit", "grpc"};

constexpr Field<HealthCheck> kCheckFields[] = {
    {"http", read_http},
    {"tcp", read_tcp},
    {"command", read_command},
    {"unit", read_unit},
    {"grpc", read_grpc},
    {"from", read_from},
    {"severity", read_severity},
    {"interval", duration_field<HealthCheck, &HealthCheck::interval, kTryMinMs, kTryMaxMs>},
    {"timeout", duration_field<HealthCheck, &HealthCheck::timeout, kTryMinMs, kTryMaxMs>},
    {"initialDelay", duration_field<HealthCheck, &HealthCheck::initial_delay, 0, kTryMaxMs>},
    {"successThreshold", threshold_field<&HealthCheck::success_threshold>},
    {"failureThreshold", threshold_field<&HealthCheck::failure_threshold>},
};

Result<void> read_check(const Json& value, const std::string& place, HealthCheck& into) {
  RETURN_IF_ERROR(expect_object(value, place));
  std::string first;
  for (const auto kind : kKinds) {
    const auto given = value.find(std::string(kind));
    if (given == value.end() || is_unset(*given)) continue;
    if (!first.empty())
      return wrong(place, "has both '" + first + "' and '" + std::string(kind) +
                              "'; a check is one of http, tcp, command, unit, grpc");
    first = kind;
  }
  return read_fields<HealthCheck>(value, place, kCheckFields, into);
}

Result<void> read_checks(const Json& value, const std::string& place, HealthPolicy& into) {
  RETURN_IF_ERROR(expect_object(value, place));
  for (auto it = value.begin(); it != value.end(); ++it) {
    if (is_unset(it.value())) continue;
    const std::string here = place_of(place, it.key());
    if (!HostName::parse(it.key()))
      return wrong(here, "a check's name may hold only letters, digits, '.', '_' and '-'");
    if (it.key().size() > kNameMax)
      return wrong(here, "a check's name may have at most " + std::to_string(kNameMax) + " bytes");
    auto check =
        std::lower_bound(into.checks.begin(), into.checks.end(), it.key(),
                         [](const HealthCheck& c, const std::string& name) { return c.name < name; });
    if (check == into.checks.end() || check->name != it.key())
      check = into.checks.insert(check, HealthCheck{.name = it.key()});
    RETURN_IF_ERROR(read_check(it.value(), here, *check));
  }
  if (into.checks.size() > kHealthChecksMax)
    return wrong(place, "more than " + std::to_string(kHealthChecksMax) + " checks on one host");
  return {};
}

Result<void> read_failed_units(const Json& value, const std::string& place, HealthPolicy& into) {
  ASSIGN_OR_RETURN(const size_t index, read_word(value, place, {"new", "any", "ignore"}));
  into.failed_units = static_cast<FailedUnits>(index);
  return {};
}

constexpr int64_t kDeadlineMaxMs = Millis(std::chrono::hours(24)).count();

constexpr Field<HealthPolicy> kHealthFields[] = {
    {"minHealthy", duration_field<HealthPolicy, &HealthPolicy::min_healthy, 0, kDeadlineMaxMs>},
    {"deadline", duration_field<HealthPolicy, &HealthPolicy::deadline, 1000, kDeadlineMaxMs>},
    {"failedUnits", read_failed_units},
    {"checks", read_checks},
};

}  // namespace

Result<void> read_health(const Json& value, const std::string& place, HealthPolicy& into) {
  return read_fields<HealthPolicy>(value, place, kHealthFields, into);
}

Result<void> validate_health(const HealthPolicy& health, const std::string& place) {
  if (health.min_healthy && *health.min_healthy > health.deadline)
    return wrong(place + ".minHealthy", "is longer than deadline: no host could pass");
  for (const auto& check : health.checks) {
    const auto* http = std::get_if<HttpCheck>(&check.kind);
    if (http != nullptr && http->url.empty())
      return wrong(place_of(place + ".checks", check.name),
                   "says nothing to check; needs one of http, tcp, command, unit, grpc");
  }
  return {};
}

}  // namespace flurry::eval
