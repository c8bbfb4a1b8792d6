// Names that stand in command lines, file names and unit names: none that could mean anything else there.
#include "core/names.h"

#include "tests/fuzz/fuzz.h"

namespace flurry::fuzz {
namespace {

// No option, no way up, no blank, no quote.
bool is_harmless(std::string_view name) {
  return is_ascii_line(name) && name.find_first_of(" /\\\"'`$%;&|<>(){}[]!#~,:@^") == std::string_view::npos;
}

}  // namespace

void run_one(std::string_view text) {
  const auto host = HostName::parse(text);
  if (host)
    FLURRY_CHECK(host->str() == text && is_harmless(text) && text.size() <= 253 && text[0] != '-' &&
                 text[0] != '.');
  else
    check_told(host.error(), 0);

  const auto path = StorePath::parse(text);
  if (path) {
    const std::string parts =
        "/nix/store/" + std::string(path->hash_part()) + "-" + std::string(path->name());
    FLURRY_CHECK(path->str() == text && parts == text);
    FLURRY_CHECK(is_harmless(path->name()) && path->name()[0] != '.' && path->hash_part().size() == 32);
  } else {
    check_told(path.error(), 0);
  }

  const auto id = DeploymentId::parse(text);
  if (id)
    FLURRY_CHECK(id->str() == text && text.size() == 26 && is_harmless(text));
  else
    check_told(id.error(), 0);

  Input input(text);
  const uint64_t ms = input.number(6);
  unsigned char entropy[10];
  for (auto& byte : entropy) byte = input.byte();
  const auto made = DeploymentId::make(ms, entropy);
  const auto read = DeploymentId::parse(made.str());
  FLURRY_CHECK(read && *read == made);
}

}  // namespace flurry::fuzz
