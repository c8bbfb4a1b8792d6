// known_hosts files: a key that we would write is found again among anything, and only a key on file is
// trusted.
#include "cli/ssh/known_hosts.h"

#include "cli/ssh/encoding.h"
#include "tests/fuzz/fuzz.h"

namespace flurry::fuzz {
namespace {

std::string key_blob(std::string_view body) {
  std::string blob;
  ssh::put_string(blob, "ssh-ed25519");
  ssh::put_string(blob, body);
  return blob;
}

}  // namespace

void run_one(std::string_view bytes) {
  Input input(bytes);
  const std::string name = ssh::known_hosts_name("Web", input.byte() % 2 ? 22 : 2222, "");
  const std::string salt(input.byte() % 2 ? 20 : 0, 's');
  const std::string blob = key_blob(input.take(8));
  const auto text = input.rest();

  const auto known = ssh::find_known_keys(text, "f", name);
  for (const auto& key : known) {
    FLURRY_CHECK(ssh::key_type(key.blob) == key.type && key.line >= 1);
    FLURRY_CHECK(ssh::base64_decode(ssh::base64_encode(key.blob)) == key.blob);
    const bool is_plain = key.mark == ssh::KnownKeyMark::kNone;
    const auto verdict = ssh::decide_host_key(known, key.blob).verdict;
    if (is_plain) FLURRY_CHECK(verdict == ssh::KeyVerdict::kTrusted || verdict == ssh::KeyVerdict::kRevoked);
    if (key.mark == ssh::KnownKeyMark::kRevoked) FLURRY_CHECK(verdict == ssh::KeyVerdict::kRevoked);
  }
  const bool is_on_file =
      std::any_of(known.begin(), known.end(), [&](const auto& k) { return k.blob == blob; });
  if (!is_on_file) FLURRY_CHECK(ssh::decide_host_key(known, blob).verdict != ssh::KeyVerdict::kTrusted);

  const std::string line = ssh::known_hosts_line(name, blob, salt);
  const auto more = ssh::find_known_keys(std::string(text) + "\n" + line, "f", name);
  FLURRY_CHECK(more.size() == known.size() + 1 && more.back().blob == blob);
}

}  // namespace flurry::fuzz
