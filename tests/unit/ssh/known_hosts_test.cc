#include "cli/ssh/known_hosts.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "cli/ssh/encoding.h"
#include "cli/ssh/host_key.h"
#include "core/sys/fd.h"

namespace flurry::ssh {
namespace {

std::string key(const std::string& type, char fill) {
  std::string blob;
  put_string(blob, type);
  put_string(blob, std::string(32, fill));
  return blob;
}

std::string line(const std::string& names, const std::string& blob) {
  return names + " " + key_type(blob) + " " + base64_encode(blob) + " a comment\n";
}

const std::string kEd = key("ssh-ed25519", 'a');
const std::string kOtherEd = key("ssh-ed25519", 'b');
const std::string kEc = key("ecdsa-sha2-nistp256", 'c');
const std::string kRsa = key("ssh-rsa", 'd');

KeyVerdict verdict(const std::string& text, const std::string& name, const std::string& offered) {
  return decide_host_key(find_known_keys(text, "f", name), offered).verdict;
}

TEST(KnownHosts, Decisions) {
  const struct {
    std::string text, name, offered;
    KeyVerdict expected;
  } cases[] = {
      {line("web", kEd), "web", kEd, KeyVerdict::kTrusted},
      {line("web", kEd), "web2", kEd, KeyVerdict::kUnknown},
      {line("web", kEd), "web", kOtherEd, KeyVerdict::kChanged},
      {line("web", kEd), "web", kEc, KeyVerdict::kChanged},
      {line("web", kEd) + line("web", kEc), "web", kEc, KeyVerdict::kTrusted},
      {line("a,web,b", kEd), "web", kEd, KeyVerdict::kTrusted},
      {line("WEB", kEd), "web", kEd, KeyVerdict::kTrusted},
      {line("*.example", kEd), "x.example", kEd, KeyVerdict::kTrusted},
      {line("*.example,!x.example", kEd), "x.example", kEd, KeyVerdict::kUnknown},
      {line("[web]:2222", kEd), "[web]:2222", kEd, KeyVerdict::kTrusted},
      {line("[web]:2222", kEd), "web", kEd, KeyVerdict::kUnknown},
      {line("web", kEd) + line("@revoked web", kEd), "web", kEd, KeyVerdict::kRevoked},
      {line("@revoked *", kOtherEd) + line("web", kEd), "web", kEd, KeyVerdict::kTrusted},
      {line("@cert-authority *", kEd), "web", kEd, KeyVerdict::kUnknown},
      {line("@strange web", kEd), "web", kEd, KeyVerdict::kUnknown},
      {known_hosts_line("web", kEd, std::string(20, 's')), "web", kEd, KeyVerdict::kTrusted},
      {known_hosts_line("web", kEd, std::string(20, 's')), "wob", kEd, KeyVerdict::kUnknown},
      {"# web\n\n  \nweb\nweb ssh-ed25519\nweb ssh-ed25519 !!!\n|1|x|y z\n|1| a\n@revoked\n", "web", kEd,
       KeyVerdict::kUnknown},
      {"web ssh-rsa " + base64_encode(kEd) + "\n", "web", kEd, KeyVerdict::kUnknown},
      {std::string("\0\xff web", 6), "web", kEd, KeyVerdict::kUnknown},
  };
  for (const auto& c : cases) EXPECT_EQ(verdict(c.text, c.name, c.offered), c.expected) << c.text << c.name;
}

TEST(KnownHosts, NamesPortAndAlias) {
  EXPECT_EQ(known_hosts_name("Web", 22, ""), "web");
  EXPECT_EQ(known_hosts_name("web", 2222, ""), "[web]:2222");
  EXPECT_EQ(known_hosts_name("web", 2222, "alias"), "alias");
}

TEST(KnownHosts, OffersKnownTypesFirst) {
  EXPECT_TRUE(
      host_key_algorithms(find_known_keys(line("web", kEc), "f", "web")).starts_with("ecdsa-sha2-nistp256,"));
  EXPECT_TRUE(host_key_algorithms({}).starts_with("ssh-ed25519,"));
  EXPECT_EQ(host_key_algorithms(find_known_keys(line("web", kRsa), "f", "web")), "");
  EXPECT_EQ(host_key_algorithms(find_known_keys(line("@cert-authority *", kEd), "f", "web")), "");
}

TEST(HostKey, RefusalsSayWhatToDo) {
  SshConfig config;
  config.hostname = "web";
  config.port = 2222;
  config.user_known_hosts = {"/k"};
  const auto unknown = check_host_key(config, {}, kEd, nullptr);
  ASSERT_FALSE(unknown.has_value());
  EXPECT_EQ(unknown.error().kind, ErrorKind::kRefused);
  for (const std::string& part : {std::string("ssh-keyscan -p 2222 web >> /k"), fingerprint(kEd)})
    EXPECT_NE(unknown.error().message.find(part), std::string::npos) << unknown.error().message;

  config.strict = StrictChecking::kNo;
  const auto known = find_known_keys("\n" + line("[web]:2222", kEd), "/k", "[web]:2222");
  const auto changed = check_host_key(config, {known, {}}, kOtherEd, nullptr);
  ASSERT_FALSE(changed.has_value()) << "a changed key is refused whatever is configured";
  for (const std::string& part : {std::string("/k:2"), fingerprint(kEd), fingerprint(kOtherEd),
                                  std::string("ssh-keygen -f /k -R '[web]:2222'")})
    EXPECT_NE(changed.error().message.find(part), std::string::npos) << changed.error().message;
}

TEST(HostKey, OfAServerOnAnotherPortCountsUnderItsNameAloneToo) {
  SshConfig config;
  config.hostname = "web";
  config.port = 2222;
  const auto plain = find_known_keys(line("web", kEd), "/k", "web");
  EXPECT_TRUE(check_host_key(config, {{}, plain}, kEd, nullptr).has_value());
  // Another key there is another server's: this one is not known, and nothing says that it changed.
  const auto other = check_host_key(config, {{}, plain}, kOtherEd, nullptr);
  ASSERT_FALSE(other.has_value());
  EXPECT_NE(other.error().message.find("is not known"), std::string::npos) << other.error().message;
  const auto revoked = find_known_keys(line("@revoked web", kEd), "/k", "web");
  EXPECT_FALSE(check_host_key(config, {{}, revoked}, kEd, nullptr).has_value());
}

// Whoever can read the file can hold its lock.
TEST(HostKey, IsLearntThoughSomebodyHoldsTheLockOfTheFile) {
  char file[] = "/tmp/flurry-known-hosts-XXXXXX";
  const sys::Fd held(::mkstemp(file));
  ASSERT_EQ(::flock(held.get(), LOCK_EX), 0);
  SshConfig config;
  config.user_known_hosts = {file};
  EXPECT_TRUE(learn_host_key(config, "web", kEd).has_value());
  EXPECT_EQ(decide_host_key(read_known_keys({file}, "web"), kEd).verdict, KeyVerdict::kTrusted);
  ::unlink(file);
}

}  // namespace
}  // namespace flurry::ssh
