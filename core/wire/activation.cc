#include <algorithm>

#include "core/wire/convert.h"
#include "core/wire/text.h"
#include "flurry/v1/journal.pb.h"

namespace flurry::wire {
namespace {

constexpr size_t kTextMax = 256;
constexpr size_t kReasonMax = 8 << 10;
constexpr int64_t kDeadlineMax = 1LL << 50;  // so that sums with it never overflow
constexpr size_t kOutputMax = 24 << 10;
constexpr size_t kFailedUnitsMax = 2000;
constexpr size_t kUnitNameMax = 256;
constexpr size_t kFileMax = 4096;
constexpr int kLeftoversMax = 16;
constexpr int kJobsMax = 500;
// The longest names that systemd takes, times this, still fit into a slot of the journal.
constexpr size_t kSteadyBytesMax = 128 << 10;
constexpr int kSteadyUnitsMax = 8000;
constexpr size_t kUserNameMax = 32;  // useradd(8)
constexpr uint32_t kTimeoutMaxMs = 24u * 3600 * 1000;
constexpr size_t kNonceLength = 32;
constexpr int kProfilesMax = 64;

Error invalid(const std::string& field, const std::string& rule) {
  return {ErrorKind::kInvalidInput, field + " " + rule};
}

Result<void> check_text(const std::string& field, const std::string& text, size_t max) {
  if (text.size() > max) return invalid(field, "is longer than " + std::to_string(max) + " bytes");
  if (text.find('\0') != std::string::npos) return invalid(field, "holds a zero byte");
  return {};
}

Result<Millis> parse_timeout(const std::string& field, uint32_t ms) {
  if (ms == 0 || ms > kTimeoutMaxMs) return invalid(field, "must be 1 to 86400000");
  return Millis(ms);
}

Result<std::optional<StorePath>> parse_optional_path(const std::string& field, const std::string& text) {
  if (text.empty()) return std::optional<StorePath>();
  auto path = StorePath::parse(text);
  if (!path) return path.error().with_context(field);
  return std::optional(*std::move(path));
}

Result<std::optional<std::string>> parse_optional_file(const std::string& field, const std::string& text) {
  if (text.empty()) return std::optional<std::string>();
  RETURN_IF_ERROR(check_text(field, text, kFileMax));
  if (text.front() != '/') return invalid(field, "must be an absolute path");
  return std::optional(text);
}

bool is_plain_name(const std::string& text) {
  return !text.empty() && text.size() <= 64 && text.front() != '.' && text.front() != '-' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' ||
                  c == '_' || c == '-';
         });
}

bool is_hex(const std::string& text) {
  return text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

}  // namespace

Result<std::string> parse_profile_path(std::string_view text) {
  const std::string path(text);
  const bool is_plain =
      path.size() <= 512 && path.size() > 1 && path.front() == '/' && path.back() != '/' &&
      std::all_of(path.begin(), path.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
  if (!is_plain) return invalid("profile_path", "must be an absolute path of at most 512 plain characters");
  if (path.find("//") != std::string::npos || (path + "/").find("/../") != std::string::npos ||
      (path + "/").find("/./") != std::string::npos)
    return invalid("profile_path", "must not hold '//', '/./' or '/../'");
  return path;
}

Result<Phase> phase_from(int number) {
  if (number < v1::PHASE_PREPARED || number > v1::PHASE_ENDED)
    return invalid("phase", "is not known: " + std::to_string(number));
  return static_cast<Phase>(number - v1::PHASE_PREPARED);
}

int phase_number(Phase phase) { return static_cast<int>(phase) + v1::PHASE_PREPARED; }

Result<ProfileRef> from_proto(const v1::ProfileRef& in) {
  if (!is_plain_name(in.name()))
    return invalid("profile: name", "must be 1 to 64 letters, digits, '.', '_' or '-'");
  if (!is_plain_name(in.user()) || in.user().size() > kUserNameMax)
    return invalid("profile: user", "must be the name of a user");
  ProfileRef out{in.name(), in.user(), "", in.needs_activation()};
  if (!in.path().empty()) {
    ASSIGN_OR_RETURN(out.path, parse_profile_path(in.path()));
  }
  if (out.is_system() && out.user != "root") return invalid("profile: user", "of the system must be root");
  if (out.is_system() && out.path.empty()) return invalid("profile: path", "of the system is missing");
  return out;
}

namespace {

Result<std::vector<ProfileSpec>> profiles_from(const v1::ActivationSpec& in) {
  if (in.profiles_size() == 0 || in.profiles_size() > kProfilesMax)
    return invalid("profiles", "must be 1 to " + std::to_string(kProfilesMax));
  std::vector<ProfileSpec> out;
  for (const auto& profile : in.profiles()) {
    ASSIGN_OR_RETURN(auto ref, from_proto(profile.ref()));
    for (const auto& other : out)
      if (other.name == ref.name) return invalid("profiles", "has two of the name " + ref.name);
    auto new_path = StorePath::parse(profile.new_path());
    if (!new_path) return new_path.error().with_context("profiles: new_path");
    out.push_back({std::move(ref), *std::move(new_path), !profile.is_passive()});
    ASSIGN_OR_RETURN(out.back().wrapped, parse_optional_path("profiles: wrapped", profile.wrapped()));
    ASSIGN_OR_RETURN(out.back().etc, parse_optional_file("profiles: etc", profile.etc()));
    out.back().taken_from = profile.taken_from();
  }
  return out;
}

}  // namespace

Result<ActivationSpec> from_proto(const v1::ActivationSpec& in) {
  ASSIGN_OR_RETURN(auto deployment, DeploymentId::parse(in.deployment()));
  if (in.nonce().size() != kNonceLength || !is_hex(in.nonce()))
    return invalid("nonce", "must be 32 lower-case hex digits");
  RETURN_IF_ERROR(check_text("who", in.who(), kTextMax));
  RETURN_IF_ERROR(check_text("revision", in.revision(), kTextMax));
  ASSIGN_OR_RETURN(auto profiles, profiles_from(in));
  ASSIGN_OR_RETURN(auto expected, parse_optional_path("expected_running", in.expected_running()));
  const auto goal = parse_goal(in.goal());
  if (!goal || !activates(*goal))
    return invalid("goal", "must be 'switch', 'test', 'boot' or 'dry-activate'");
  ASSIGN_OR_RETURN(const Millis activation,
                   parse_timeout("activation_timeout_ms", in.activation_timeout_ms()));
  ASSIGN_OR_RETURN(const Millis confirm, parse_timeout("confirm_timeout_ms", in.confirm_timeout_ms()));
  ASSIGN_OR_RETURN(auto health, from_proto(in.health()));
  return ActivationSpec{.deployment = std::move(deployment),
                        .nonce = in.nonce(),
                        .who = in.who(),
                        .revision = in.revision(),
                        .profiles = std::move(profiles),
                        .expected_running = std::move(expected),
                        .goal = *goal,
                        .magic_rollback = in.magic_rollback(),
                        .auto_rollback = in.auto_rollback(),
                        .allow_no_rollback = in.allow_no_rollback(),
                        .activation_timeout = activation,
                        .confirm_timeout = confirm,
                        .health = std::move(health)};
}

namespace {

Result<void> read_units(const v1::SystemState& in, SystemState& out) {
  if (in.leftovers_size() > kLeftoversMax) return invalid("leftovers", "are too many");
  for (const auto& list : in.leftovers()) {
    RETURN_IF_ERROR(check_text("leftovers", list, kUnitNameMax));
    out.leftovers.push_back(list);
  }
  if (in.jobs_size() > kJobsMax) return invalid("jobs", "are too many");
  for (const auto& job : in.jobs()) {
    RETURN_IF_ERROR(check_text("jobs: unit", job.unit(), kUnitNameMax));
    RETURN_IF_ERROR(check_text("jobs: type", job.type(), 64));
    out.jobs.push_back({job.unit(), job.type()});
  }
  if (in.steady_units_size() > kSteadyUnitsMax) return invalid("steady_units", "are too many");
  for (const auto& unit : in.steady_units()) {
    RETURN_IF_ERROR(check_text("steady_units", unit.name(), kUnitNameMax));
    out.steady_units.push_back({unit.name(), unit.may_end()});
  }
  return {};
}

void write_units(const SystemState& in, v1::SystemState& out) {
  for (const auto& list : in.leftovers)
    if (out.leftovers_size() < kLeftoversMax) out.add_leftovers(clean_text(list, kUnitNameMax));
  for (const auto& job : in.jobs) {
    if (out.jobs_size() == kJobsMax) break;
    auto& entry = *out.add_jobs();
    entry.set_unit(clean_text(job.unit, kUnitNameMax));
    entry.set_type(clean_text(job.type, 64));
  }
  size_t bytes = 0;
  for (const auto& unit : in.steady_units) {
    bytes += unit.name.size() + 8;
    if (bytes > kSteadyBytesMax || out.steady_units_size() == kSteadyUnitsMax) break;
    auto& entry = *out.add_steady_units();
    entry.set_name(clean_text(unit.name, kUnitNameMax));
    entry.set_may_end(unit.may_end);
  }
}

}  // namespace

Result<SystemState> from_proto(const v1::SystemState& in) {
  SystemState out;
  ASSIGN_OR_RETURN(out.etc, parse_optional_file("etc", in.etc()));
  ASSIGN_OR_RETURN(out.boot_default, parse_optional_path("boot_default", in.boot_default()));
  ASSIGN_OR_RETURN(out.running, parse_optional_path("running", in.running()));
  ASSIGN_OR_RETURN(out.profile, parse_optional_path("profile", in.profile()));
  if (in.generation() != 0) out.generation = in.generation();
  RETURN_IF_ERROR(check_text("boot_id", in.boot_id(), 64));
  if (in.boot_id().empty()) return invalid("boot_id", "is missing");
  out.boot_id = in.boot_id();
  if (in.failed_units_size() > static_cast<int>(kFailedUnitsMax))
    return invalid("failed_units", "are too many");
  for (const auto& unit : in.failed_units()) {
    RETURN_IF_ERROR(check_text("failed_units", unit, kUnitNameMax));
    out.failed_units.push_back(unit);
  }
  RETURN_IF_ERROR(read_units(in, out));
  if (in.user_profiles_size() > kProfilesMax) return invalid("user_profiles", "are too many");
  for (const auto& profile : in.user_profiles()) {
    if (!is_plain_name(profile.name())) return invalid("user_profiles", "must have a plain name");
    auto& state = out.user_profiles[profile.name()];
    ASSIGN_OR_RETURN(state.path, parse_optional_path("user_profiles", profile.path()));
    if (profile.generation() != 0) state.generation = profile.generation();
    state.is_activated = !profile.is_unactivated();
  }
  return out;
}

Result<ActivationRecord> from_proto(const v1::JournalRecord& in) {
  auto spec = from_proto(in.spec());
  if (!spec) return spec.error().with_context("spec");
  ActivationRecord out{.spec = *std::move(spec)};
  ASSIGN_OR_RETURN(out.phase, phase_from(in.phase()));
  if (in.back_from() != v1::PHASE_UNSPECIFIED) {
    ASSIGN_OR_RETURN(out.back_from, phase_from(in.back_from()));
  }
  auto before = from_proto(in.before());
  if (!before) return before.error().with_context("before");
  out.before = *std::move(before);
  if (in.deadline_boottime_ms() < 0 || in.deadline_boottime_ms() > kDeadlineMax)
    return invalid("deadline_boottime_ms", "is out of range");
  out.times_driven_back = static_cast<int>(std::min(in.times_driven_back(), 1'000'000u));
  out.deadline = TimePoint(Millis(in.deadline_boottime_ms()));
  RETURN_IF_ERROR(check_text("reason", in.reason(), kReasonMax));
  RETURN_IF_ERROR(check_text("output", in.output(), kOutputMax));
  out.reason = in.reason();
  out.output = in.output();
  RETURN_IF_ERROR(check_text("not_undone", in.not_undone(), kReasonMax));
  out.not_undone = in.not_undone();
  out.holder_stopped = in.holder_stopped();
  if (!in.outcome().empty()) {
    out.outcome = parse_outcome(in.outcome());
    if (!out.outcome) return invalid("outcome", "is not known");
  }
  if (out.outcome.has_value() != (out.phase == Phase::kEnded))
    return invalid("outcome", "must stand in an ended record, and in no other");
  out.at = in.at_profile();
  if (out.at >= out.spec.profiles.size()) return invalid("at_profile", "is not one of the profiles");
  out.started_unix_ms = in.started_unix_ms();
  out.ended_unix_ms = in.ended_unix_ms();
  return out;
}

void to_proto(const ProfileRef& in, v1::ProfileRef& out) {
  out.set_name(in.name);
  out.set_user(in.user);
  out.set_path(in.path);
  out.set_needs_activation(in.needs_activation);
}

void to_proto(const ActivationSpec& in, v1::ActivationSpec& out) {
  out.set_deployment(in.deployment.str());
  out.set_nonce(clean_text(in.nonce, kTextMax));
  out.set_who(clean_text(in.who, kTextMax));
  out.set_revision(clean_text(in.revision, kTextMax));
  for (const auto& profile : in.profiles) {
    auto& to = *out.add_profiles();
    to_proto(profile, *to.mutable_ref());
    to.set_new_path(profile.new_path.str());
    to.set_is_passive(!profile.has_activation);
    if (profile.wrapped) to.set_wrapped(profile.wrapped->str());
    if (profile.etc) to.set_etc(clean_text(*profile.etc, kFileMax));
    to.set_taken_from(profile.taken_from);
  }
  if (in.expected_running) out.set_expected_running(in.expected_running->str());
  out.set_goal(std::string(to_string(in.goal)));
  out.set_magic_rollback(in.magic_rollback);
  out.set_auto_rollback(in.auto_rollback);
  out.set_allow_no_rollback(in.allow_no_rollback);
  out.set_activation_timeout_ms(static_cast<uint32_t>(in.activation_timeout.count()));
  out.set_confirm_timeout_ms(static_cast<uint32_t>(in.confirm_timeout.count()));
  to_proto(in.health, *out.mutable_health());
}

void to_proto(const SystemState& in, v1::SystemState& out) {
  if (in.running) out.set_running(in.running->str());
  if (in.profile) out.set_profile(in.profile->str());
  out.set_generation(in.generation.value_or(0));
  out.set_boot_id(clean_text(in.boot_id, 64));
  if (in.etc) out.set_etc(clean_text(*in.etc, kFileMax));
  if (in.boot_default) out.set_boot_default(in.boot_default->str());
  write_units(in, out);
  for (const auto& unit : in.failed_units) {
    if (out.failed_units_size() == static_cast<int>(kFailedUnitsMax)) break;
    out.add_failed_units(clean_text(unit, kUnitNameMax));
  }
  for (const auto& [name, state] : in.user_profiles) {
    auto& profile = *out.add_user_profiles();
    profile.set_name(name);
    if (state.path) profile.set_path(state.path->str());
    profile.set_generation(state.generation.value_or(0));
    profile.set_is_unactivated(!state.is_activated);
  }
}

void to_proto(const ActivationRecord& in, v1::JournalRecord& out) {
  to_proto(in.spec, *out.mutable_spec());
  out.set_phase(static_cast<v1::Phase>(phase_number(in.phase)));
  if (in.back_from) out.set_back_from(static_cast<v1::Phase>(phase_number(*in.back_from)));
  out.set_times_driven_back(static_cast<uint32_t>(in.times_driven_back));
  to_proto(in.before, *out.mutable_before());
  out.set_deadline_boottime_ms(in.deadline.time_since_epoch().count());
  out.set_reason(clean_text(in.reason, kReasonMax));
  out.set_output(clean_text(in.output, kOutputMax));
  out.set_not_undone(clean_text(in.not_undone, kReasonMax));
  out.set_holder_stopped(in.holder_stopped);
  if (in.outcome) out.set_outcome(std::string(to_string(*in.outcome)));
  out.set_at_profile(static_cast<uint32_t>(in.at));
  out.set_started_unix_ms(in.started_unix_ms);
  out.set_ended_unix_ms(in.ended_unix_ms);
}

}  // namespace flurry::wire
