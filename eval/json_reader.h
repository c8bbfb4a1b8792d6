#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/spelling.h"
#include "core/time.h"

// Strict readers of one JSON value each. `place` is where the value stands in the flake
// ("flurry.hosts.web-01.targetPort") and begins every message; all errors are kInvalidInput.
namespace flurry::eval {

using Json = nlohmann::json;

constexpr size_t kTextMax = 4096;
constexpr size_t kListMax = 64;
constexpr Millis kDurationMax = std::chrono::hours(24 * 7);

// The whole text, nested at most 32 deep.
Result<Json> parse_json(std::string_view text, const std::string& what);

Error wrong(const std::string& place, const std::string& what);
// "must be a string, is a list".
Error wrong_type(const std::string& place, const char* expected, const Json& value);

// "flurry.hosts" and "web.example" make flurry.hosts."web.example".
std::string place_of(const std::string& parent, std::string_view name);

bool is_unset(const Json& value);  // null
Result<void> expect_object(const Json& value, const std::string& place);
Result<bool> read_bool(const Json& value, const std::string& place);
Result<int64_t> read_integer(const Json& value, const std::string& place, int64_t min, int64_t max);
// 1 to kTextMax bytes without control characters.
Result<std::string> read_text(const Json& value, const std::string& place);
// As read_text, with line breaks and tabs, and may be empty.
Result<std::string> read_block(const Json& value, const std::string& place);
// A list of at most kListMax texts.
Result<std::vector<std::string>> read_texts(const Json& value, const std::string& place);
// As above; one text is a list of one.
Result<std::vector<std::string>> read_text_or_texts(const Json& value, const std::string& place);
// "500ms" "10s" "2m" "1h", or an integer of seconds.
Result<Millis> read_duration(const Json& value, const std::string& place, Millis min, Millis max);
// The index of the text in `words`.
Result<size_t> read_word(const Json& value, const std::string& place, const std::vector<std::string>& words);

// One legal attribute of an attribute set that is read into a T.
template <typename T>
struct Field {
  const char* name;
  Result<void> (*read)(const Json& value, const std::string& place, T& into);
};

// Mistakes are told together, a line each.
class Mistakes {
 public:
  void add(const Result<void>& read);
  bool empty() const { return count_ == 0; }
  // kUnsupported where all are, else kInvalidInput.
  Result<void> result() const;

 private:
  Error all_{ErrorKind::kUnsupported, {}};
  size_t count_ = 0;
};

// Calls `visit(name, value)` for each attribute; the errors are told together.
using Visit = Result<void> (*)(void* context, const std::string& name, const Json& value);
Result<void> for_each_attribute(const Json& object, const std::string& place, void* context, Visit visit);

// "unknown field 'urll' (did you mean 'url'?)".
Error unknown_field(const std::string& place, const std::string& name, const std::vector<std::string>& known);

// Reads every attribute of `value` by its Field; attributes that `value` doesn't have, or has as null, as
// modules write what nobody has set, keep what `into` holds, which is how defaults are merged.
template <typename T>
Result<void> read_fields(const Json& value, const std::string& place, std::span<const Field<T>> fields,
                         T& into) {
  struct Context {
    const std::string& place;
    std::span<const Field<T>> fields;
    T& into;
  } context{place, fields, into};
  return for_each_attribute(value, place, &context, [](void* raw, const std::string& name, const Json& v) {
    auto& c = *static_cast<Context*>(raw);
    std::vector<std::string> known;
    for (const auto& field : c.fields) {
      if (field.name == name)
        return is_unset(v) ? Result<void>() : field.read(v, place_of(c.place, name), c.into);
      known.emplace_back(field.name);
    }
    return Result<void>(unknown_field(place_of(c.place, name), name, known));
  });
}

}  // namespace flurry::eval
