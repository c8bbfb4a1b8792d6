#include "eval/json_reader.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace flurry::eval {
namespace {

constexpr int kDepthMax = 32;
constexpr size_t kToldMax = 64;  // of the mistakes

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

const char* type_name(const Json& value) {
  switch (value.type()) {
    case Json::value_t::null:
      return "null (leave it out for the default)";
    case Json::value_t::boolean:
      return "a bool";
    case Json::value_t::number_integer:
    case Json::value_t::number_unsigned:
      return "an integer";
    case Json::value_t::number_float:
      return "a float";
    case Json::value_t::string:
      return "a string";
    case Json::value_t::array:
      return "a list";
    case Json::value_t::object:
      return "an attribute set";
    default:
      return "something else";
  }
}

// How the value is written right, where its type tells what was meant; " (…)" or empty.
std::string way_out(std::string_view expected, const Json& value) {
  constexpr size_t kShownMax = 60;
  if (value.is_null()) return {};
  if (expected == "a bool") return " (write true or false, without quotes)";
  if (expected == "an integer" && value.is_string()) return " (write it without quotes)";
  if (expected == "an attribute set") return " (write { NAME = VALUE; })";
  if (expected == "a string" && value.is_number()) return " (write it in quotes)";
  const bool is_short = value.is_string() && value.get_ref<const std::string&>().size() <= kShownMax;
  if (expected == "a list of strings" && is_short)
    return " (write [ " + value.dump(-1, ' ', true, Json::error_handler_t::replace) + " ])";
  return {};
}

// Of brackets outside strings: known before the parser, whose values are freed by recursion, sees them.
int depth_of(std::string_view text) {
  int depth = 0;
  int deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\') ++i;
    if (c == '"') in_string = !in_string;
    if (in_string) continue;
    if (c == '[' || c == '{') deepest = std::max(deepest, ++depth);
    if (c == ']' || c == '}') --depth;
  }
  return deepest;
}

struct Unit {
  std::string_view name;
  int64_t millis;
};
constexpr Unit kUnits[] = {{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}};

// "1h" of a number of milliseconds that a person would write.
std::string duration_text(Millis duration) {
  for (size_t i = std::size(kUnits); i-- > 0;)
    if (duration.count() % kUnits[i].millis == 0)
      return std::to_string(duration.count() / kUnits[i].millis) + std::string(kUnits[i].name);
  return std::to_string(duration.count()) + "ms";
}

// -1 when it is no duration.
int64_t duration_millis(std::string_view text) {
  const size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  if (digits == 0 || digits > 9) return -1;
  for (const auto& unit : kUnits)
    if (text.substr(digits) == unit.name)
      return std::stoll(std::string(text.substr(0, digits))) * unit.millis;
  return -1;
}

Result<std::string> read_string(const Json& value, const std::string& place, bool block) {
  if (!value.is_string()) return wrong_type(place, "a string", value);
  const auto& text = value.get_ref<const std::string&>();
  if (text.empty() && !block) return wrong(place, "must not be empty");
  if (text.size() > kTextMax) return wrong(place, "is longer than " + std::to_string(kTextMax) + " bytes");
  const bool clean = std::none_of(text.begin(), text.end(), [block](char c) {
    return is_control(c) && !(block && (c == '\n' || c == '\t'));
  });
  if (!clean) return wrong(place, "must not hold control characters");
  return text;
}

// What others call a field of ours; hands that know another tool write these first.
constexpr std::pair<std::string_view, std::string_view> kOtherWords[] = {
    {"hostname", "targetHost"}, {"address", "targetHost"},    {"port", "targetPort"},
    {"sshUser", "targetUser"},  {"sshOpts", "sshOptions"},    {"sudo", "privilegeEscalationCommand"},
    {"remoteBuild", "buildOn"}, {"buildOnTarget", "buildOn"}, {"checks", "health"},
    {"healthChecks", "health"}, {"dependsOn", "requires"},    {"nodes", "hosts"},
    {"machines", "hosts"},
};

std::string other_tools_word(const std::string& name, const std::vector<std::string>& known) {
  for (const auto& [theirs, ours] : kOtherWords)
    if (name == theirs && std::find(known.begin(), known.end(), ours) != known.end())
      return " (here it is " + quote(ours) + ")";
  return {};
}

}  // namespace

Result<Json> parse_json(std::string_view text, const std::string& what) {
  if (depth_of(text) > kDepthMax)
    return wrong(what, "nested more than " + std::to_string(kDepthMax) + " deep");
  try {
    return Json::parse(text);
  } catch (const Json::exception& e) {
    return wrong(what, std::string("not valid JSON: ") + e.what());
  }
}

Error wrong(const std::string& place, const std::string& what) {
  return {ErrorKind::kInvalidInput, place + ": " + what};
}

Error wrong_type(const std::string& place, const char* expected, const Json& value) {
  return wrong(place,
               std::string("must be ") + expected + ", is " + type_name(value) + way_out(expected, value));
}

std::string place_of(const std::string& parent, std::string_view name) {
  const bool plain = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
  });
  if (plain && name.size() <= kListMax) return parent + "." + std::string(name);
  const std::string shown = quote(name);
  return parent + ".\"" + shown.substr(1, shown.size() - 2) + "\"";
}

bool is_unset(const Json& value) { return value.is_null(); }

Result<void> expect_object(const Json& value, const std::string& place) {
  if (!value.is_object()) return wrong_type(place, "an attribute set", value);
  return {};
}

Result<bool> read_bool(const Json& value, const std::string& place) {
  if (!value.is_boolean()) return wrong_type(place, "a bool", value);
  return value.get<bool>();
}

Result<int64_t> read_integer(const Json& value, const std::string& place, int64_t min, int64_t max) {
  if (!value.is_number_integer()) return wrong_type(place, "an integer", value);
  const bool huge = value.is_number_unsigned() && value.get<uint64_t>() > static_cast<uint64_t>(INT64_MAX);
  const int64_t number = huge ? INT64_MAX : value.get<int64_t>();
  if (number < min || number > max)
    return wrong(place,
                 "must be " + std::to_string(min) + " to " + std::to_string(max) + ", is " + value.dump());
  return number;
}

Result<std::string> read_text(const Json& value, const std::string& place) {
  return read_string(value, place, false);
}

Result<std::string> read_block(const Json& value, const std::string& place) {
  return read_string(value, place, true);
}

Result<std::vector<std::string>> read_texts(const Json& value, const std::string& place) {
  if (!value.is_array()) return wrong_type(place, "a list of strings", value);
  if (value.size() > kListMax) return wrong(place, "has more than " + std::to_string(kListMax) + " entries");
  std::vector<std::string> texts;
  for (const auto& entry : value) {
    ASSIGN_OR_RETURN(auto text, read_text(entry, place + "[" + std::to_string(texts.size()) + "]"));
    texts.push_back(std::move(text));
  }
  return texts;
}

Result<std::vector<std::string>> read_text_or_texts(const Json& value, const std::string& place) {
  if (value.is_array()) return read_texts(value, place);
  if (!value.is_string()) return wrong_type(place, "a string or a list of strings", value);
  ASSIGN_OR_RETURN(auto text, read_text(value, place));
  return std::vector<std::string>{std::move(text)};
}

Result<Millis> read_duration(const Json& value, const std::string& place, Millis min, Millis max) {
  int64_t millis = -1;
  if (value.is_number_integer()) {
    ASSIGN_OR_RETURN(const int64_t seconds, read_integer(value, place, 0, kDurationMax.count() / 1000));
    millis = seconds * 1000;
  } else if (value.is_string()) {
    const auto& text = value.get_ref<const std::string&>();
    millis = duration_millis(text);
    if (millis < 0)
      return wrong(place,
                   quote(text) + " is no duration: write \"500ms\", \"10s\", \"2m\", \"1h\" or seconds");
  } else {
    return wrong_type(place, "a duration (\"10s\", or an integer of seconds)", value);
  }
  if (millis < min.count() || millis > max.count())
    return wrong(place, "must be " + duration_text(min) + " to " + duration_text(max) + ", is " +
                            duration_text(Millis(millis)));
  return Millis(millis);
}

Result<size_t> read_word(const Json& value, const std::string& place, const std::vector<std::string>& words) {
  ASSIGN_OR_RETURN(const auto text, read_text(value, place));
  const auto found = std::find(words.begin(), words.end(), text);
  if (found != words.end()) return static_cast<size_t>(found - words.begin());
  std::string all;
  for (const auto& word : words) all += (all.empty() ? "\"" : ", \"") + word + "\"";
  return wrong(place, quote(text) + " is none of " + all + did_you_mean(text, words));
}

Result<void> for_each_attribute(const Json& object, const std::string& place, void* context, Visit visit) {
  RETURN_IF_ERROR(expect_object(object, place));
  Mistakes mistakes;
  for (auto it = object.begin(); it != object.end(); ++it) mistakes.add(visit(context, it.key(), it.value()));
  return mistakes.result();
}

void Mistakes::add(const Result<void>& read) {
  if (read || ++count_ > kToldMax) return;
  if (read.error().kind != ErrorKind::kUnsupported) all_.kind = read.error().kind;
  all_.message += (all_.message.empty() ? "" : "\n") + read.error().message;
}

Result<void> Mistakes::result() const {
  if (empty()) return {};
  Error all = all_;
  if (count_ > kToldMax) all.message += "\n(and " + std::to_string(count_ - kToldMax) + " more)";
  return all;
}

Error unknown_field(const std::string& place, const std::string& name,
                    const std::vector<std::string>& known) {
  std::string hint = other_tools_word(name, known);
  if (hint.empty()) hint = did_you_mean(name, known);
  if (hint.empty()) {
    for (const auto& field : known) hint += " " + field;
    hint = " (known here:" + hint + ")";
  }
  return wrong(place, "unknown field" + hint);
}

}  // namespace flurry::eval
