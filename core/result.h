#pragma once

#include <optional>
#include <string>
#include <utility>
#include <variant>

namespace flurry {

// What a caller can do about a failure. Chosen by the next step, not by the cause.
enum class ErrorKind {
  kInvalidInput,  // the user's configuration, options or a hostile byte: fix the input
  kUnreachable,   // no connection to the host: try again later or elsewhere
  kRefused,       // the other side answered and said no: host key, login, another deployment
  kTimedOut,      // a deadline passed
  kFailed,        // the operation ran and failed
  kNoSpace,       // not enough room on the host
  kExhausted,     // no descriptor, process or memory is left just now: the same may go a moment later
  kUnsupported,   // known, and not possible here
  kCancelled,     // the user stopped it
};

// An expected failure. `message` is a sentence for a person; layers prepend their context
// ("copy: nix daemon: ..."), the outermost adds the host.
struct Error {
  ErrorKind kind = ErrorKind::kFailed;
  std::string message;

  Error with_context(const std::string& context) const { return {kind, context + ": " + message}; }
  bool operator==(const Error&) const = default;
};

// A value or an Error: the subset of std::expected that we use, for g++ 12 in C++20 mode.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}

  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }

  T& operator*() & { return *std::get_if<0>(&state_); }
  const T& operator*() const& { return *std::get_if<0>(&state_); }
  T&& operator*() && { return std::move(*std::get_if<0>(&state_)); }
  T* operator->() { return std::get_if<0>(&state_); }
  const T* operator->() const { return std::get_if<0>(&state_); }

  const Error& error() const { return *std::get_if<1>(&state_); }

 private:
  std::variant<T, Error> state_;
};

// Success without a value.
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}

  bool has_value() const { return !error_.has_value(); }
  explicit operator bool() const { return has_value(); }
  const Error& error() const { return *error_; }

 private:
  std::optional<Error> error_;
};

}  // namespace flurry

// Early returns for Result; the only macros besides FLURRY_CHECK.
#define FLURRY_CONCAT_INNER(a, b) a##b
#define FLURRY_CONCAT(a, b) FLURRY_CONCAT_INNER(a, b)
#define RETURN_IF_ERROR(expression)                                                                  \
  do {                                                                                               \
    if (auto flurry_result = (expression); !flurry_result.has_value()) return flurry_result.error(); \
  } while (false)
#define ASSIGN_OR_RETURN(declaration, expression)              \
  auto FLURRY_CONCAT(flurry_result_, __LINE__) = (expression); \
  if (!FLURRY_CONCAT(flurry_result_, __LINE__).has_value())    \
    return FLURRY_CONCAT(flurry_result_, __LINE__).error();    \
  declaration = *std::move(FLURRY_CONCAT(flurry_result_, __LINE__))
