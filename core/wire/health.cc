#include <algorithm>

#include "core/wire/convert.h"
#include "core/wire/text.h"
#include "flurry/v1/journal.pb.h"

namespace flurry::wire {
namespace {

constexpr size_t kTextMax = 4096;
constexpr size_t kNameMax = 128;
constexpr int kHeadersMax = 64;
constexpr int kArgumentsMax = 256;
constexpr uint32_t kTimeMaxMs = 24u * 3600 * 1000;
constexpr uint32_t kThresholdMax = 1000;

Error invalid(const std::string& what, const std::string& rule) {
  return {ErrorKind::kInvalidInput, what + " " + rule};
}

bool is_line(const std::string& text, size_t max) {
  return text.size() <= max && text.find_first_of(std::string("\0\r\n", 3)) == std::string::npos;
}

Result<HttpCheck> http_from(const v1::HealthCheck::Http& in) {
  HttpCheck out;
  const bool is_web = in.url().starts_with("http://") || in.url().starts_with("https://");
  if (!is_web || !is_line(in.url(), kTextMax) || in.url().find(' ') != std::string::npos)
    return invalid("url", "must start with http:// or https:// and be one word");
  out.url = in.url();
  if (in.method().empty() || in.method().size() > 32 ||
      in.method().find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ") != std::string::npos)
    return invalid("method", "must be a word in capitals");
  out.method = in.method();
  if (in.headers_size() > kHeadersMax) return invalid("headers", "are too many");
  for (const auto& [name, value] : in.headers()) {
    if (name.empty() || !is_line(name, kNameMax) || name.find_first_of(": ") != std::string::npos ||
        !is_line(value, kTextMax))
      return invalid("headers", "must have a name without ':' and a value of one line");
    out.headers.emplace_back(name, value);
  }
  std::sort(out.headers.begin(), out.headers.end());
  for (const uint32_t status : in.status()) {
    if (status < 100 || status > 599) return invalid("status", "must be 100 to 599");
    out.status.push_back(static_cast<uint16_t>(status));
  }
  if (in.body().size() > kTextMax) return invalid("body", "is too long");
  out.body = in.body();
  out.insecure_tls = in.insecure_tls();
  return out;
}

Result<TcpCheck> tcp_from(const v1::HealthCheck::Tcp& in) {
  if (in.host().empty() || in.host().front() == '-' || !is_line(in.host(), kNameMax * 2))
    return invalid("host", "must be a name or an address");
  if (in.port() == 0 || in.port() > 65535) return invalid("port", "must be 1 to 65535");
  return TcpCheck{in.host(), static_cast<uint16_t>(in.port())};
}

Result<CommandCheck> command_from(const v1::HealthCheck::Command& in) {
  if (in.argv_size() == 0 || in.argv_size() > kArgumentsMax || in.argv(0).empty())
    return invalid("argv", "must have a program and at most 255 arguments");
  CommandCheck out;
  for (const auto& word : in.argv()) {
    if (word.size() > 4 * kTextMax || word.find('\0') != std::string::npos)
      return invalid("argv", "holds a word that is too long or has a zero byte");
    out.argv.push_back(word);
  }
  return out;
}

Result<UnitCheck> unit_from(const v1::HealthCheck::Unit& in) {
  const std::string& unit = in.unit();
  if (unit.empty() || unit.front() == '-' || unit.size() > 255 || unit.find('.') == std::string::npos ||
      unit.find_first_of(std::string(" /*?[\t\r\n\0", 9)) != std::string::npos)
    return invalid("unit", "must be a systemd unit with its suffix");
  return UnitCheck{unit};
}

Result<Millis> time_from(const char* field, uint32_t ms, uint32_t least) {
  if (ms < least || ms > kTimeMaxMs) return invalid(field, "is out of bounds");
  return Millis(ms);
}

Result<HealthCheck> check_from(const v1::HealthCheck& in) {
  HealthCheck out;
  if (in.name().empty() || !is_line(in.name(), kNameMax)) return invalid("name", "must be 1 to 128 bytes");
  out.name = in.name();
  switch (in.kind_case()) {
    case v1::HealthCheck::kHttp: {
      ASSIGN_OR_RETURN(out.kind, http_from(in.http()));
      break;
    }
    case v1::HealthCheck::kTcp: {
      ASSIGN_OR_RETURN(out.kind, tcp_from(in.tcp()));
      break;
    }
    case v1::HealthCheck::kCommand: {
      ASSIGN_OR_RETURN(out.kind, command_from(in.command()));
      break;
    }
    case v1::HealthCheck::kUnit: {
      ASSIGN_OR_RETURN(out.kind, unit_from(in.unit()));
      break;
    }
    case v1::HealthCheck::KIND_NOT_SET:
      return invalid("kind", "is missing, or newer than this agent");
  }
  out.severity = in.required() ? Severity::kRequired : Severity::kWanted;
  ASSIGN_OR_RETURN(out.interval, time_from("interval_ms", in.interval_ms(), 1));
  ASSIGN_OR_RETURN(out.timeout, time_from("timeout_ms", in.timeout_ms(), 1));
  ASSIGN_OR_RETURN(out.initial_delay, time_from("initial_delay_ms", in.initial_delay_ms(), 0));
  out.success_threshold = in.success_threshold();
  out.failure_threshold = in.failure_threshold();
  for (const uint32_t threshold : {out.success_threshold, out.failure_threshold})
    if (threshold == 0 || threshold > kThresholdMax) return invalid("threshold", "must be 1 to 1000");
  return out;
}

// What is checked must not change by being written down: it came as valid text, and goes as it came.
// False: the agent can't run it.
bool kind_to(const HealthCheck& in, v1::HealthCheck& out) {
  if (const auto* http = std::get_if<HttpCheck>(&in.kind)) {
    auto& to = *out.mutable_http();
    to.set_url(http->url);
    to.set_method(http->method);
    for (const auto& [name, value] : http->headers) (*to.mutable_headers())[name] = value;
    for (const uint16_t status : http->status) to.add_status(status);
    to.set_body(http->body);
    to.set_insecure_tls(http->insecure_tls);
  } else if (const auto* tcp = std::get_if<TcpCheck>(&in.kind)) {
    out.mutable_tcp()->set_host(tcp->host);
    out.mutable_tcp()->set_port(tcp->port);
  } else if (const auto* command = std::get_if<CommandCheck>(&in.kind)) {
    for (const auto& word : command->argv) out.mutable_command()->add_argv(word);
  } else if (const auto* unit = std::get_if<UnitCheck>(&in.kind)) {
    out.mutable_unit()->set_unit(unit->unit);
  } else {
    return false;
  }
  return true;
}

}  // namespace

Result<HealthPolicy> from_proto(const v1::HealthPolicy& in) {
  HealthPolicy out;
  ASSIGN_OR_RETURN(out.min_healthy, time_from("health: min_healthy_ms", in.min_healthy_ms(), 0));
  ASSIGN_OR_RETURN(out.deadline, time_from("health: deadline_ms", in.deadline_ms(), 1));
  if (*out.min_healthy > out.deadline)
    return invalid("health: min_healthy_ms", "must not be more than deadline_ms");
  switch (in.failed_units()) {
    case v1::HealthPolicy::FAILED_UNITS_NEW:
      out.failed_units = FailedUnits::kNew;
      break;
    case v1::HealthPolicy::FAILED_UNITS_ANY:
      out.failed_units = FailedUnits::kAny;
      break;
    case v1::HealthPolicy::FAILED_UNITS_IGNORE:
      out.failed_units = FailedUnits::kIgnore;
      break;
    default:
      return invalid("health: failed_units", "is not known");
  }
  if (in.checks_size() > static_cast<int>(kHealthChecksMax)) return invalid("health: checks", "are too many");
  for (const auto& check : in.checks()) {
    auto read = check_from(check);
    if (!read) return read.error().with_context("health: check '" + clean_text(check.name(), kNameMax) + "'");
    out.checks.push_back(*std::move(read));
  }
  return out;
}

void to_proto(const HealthPolicy& in, v1::HealthPolicy& out) {
  out.set_min_healthy_ms(static_cast<uint32_t>(in.healthy_for().count()));
  out.set_deadline_ms(static_cast<uint32_t>(in.deadline.count()));
  switch (in.failed_units) {
    case FailedUnits::kNew:
      out.set_failed_units(v1::HealthPolicy::FAILED_UNITS_NEW);
      break;
    case FailedUnits::kAny:
      out.set_failed_units(v1::HealthPolicy::FAILED_UNITS_ANY);
      break;
    case FailedUnits::kIgnore:
      out.set_failed_units(v1::HealthPolicy::FAILED_UNITS_IGNORE);
      break;
  }
  for (const auto& check : in.checks) {
    if (check.from == CheckFrom::kController) continue;
    v1::HealthCheck to;
    if (!kind_to(check, to)) continue;
    to.set_name(clean_text(check.name, kNameMax));
    to.set_required(check.severity == Severity::kRequired);
    to.set_interval_ms(static_cast<uint32_t>(check.interval.count()));
    to.set_timeout_ms(static_cast<uint32_t>(check.timeout.count()));
    to.set_initial_delay_ms(static_cast<uint32_t>(check.initial_delay.count()));
    to.set_success_threshold(check.success_threshold);
    to.set_failure_threshold(check.failure_threshold);
    *out.add_checks() = std::move(to);
  }
}

}  // namespace flurry::wire
