// A host's policy for imports, and signatures: what isn't understood is refused, and no path passes whose
// signature is not one of the key.
#include "agent/import_policy.h"

#include "tests/fuzz/fuzz.h"

namespace flurry::fuzz {

void run_one(std::string_view text) {
  const auto settings = [] {
    return Result<std::string>(std::string(R"({"trusted-public-keys": {"value": []}})"));
  };
  nix::PathInfo info{.path = *StorePath::parse("/nix/store/" + std::string(32, 'a') + "-x"),
                     .nar_hash = std::string(64, '5'),
                     .nar_size = 120};
  info.signatures = {std::string(text)};
  const auto policy = agent::parse_policy(text, settings);
  if (!policy) {
    FLURRY_CHECK(policy.error().kind == ErrorKind::kRefused);
    check_told(policy.error(), text.size());
  } else if (policy->require_signatures) {
    const auto admitted = agent::admit(*policy, info);
    FLURRY_CHECK(!admitted);
    check_told(admitted.error(), text.size());
  }
  const auto key = nix::PublicKey::parse(text.substr(0, text.find('\n')));
  if (!key) return;
  FLURRY_CHECK(!key->name().empty());
  const size_t end = text.find('\n');
  // No input of a fuzzer is a signature of that text.
  if (end != std::string_view::npos) FLURRY_CHECK(!key->verifies(info, text.substr(end + 1)));
}

}  // namespace flurry::fuzz
