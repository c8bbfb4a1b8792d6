#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <sstream>

#include "core/sys/clock.h"
#include "core/sys/subprocess.h"
#include "tests/unit/ssh/sshd_fixture.h"

namespace flurry::ssh {
namespace {

// Where ssh logs in, flurry does; where ssh refuses, flurry does: tried beside the ssh program itself.
class LikeOpenSsh : public SshdTest {
 protected:
  enum class Way { kLibssh, kProgram, kNone };

  void SetUp() override {
    SshdTest::SetUp();
    if (IsSkipped()) return;
    name_ = "[127.0.0.1]:" + std::to_string(port_);
    key_ = "IdentityFile " + path("login") + "\n";
  }

  bool ssh_logs_in(const std::vector<std::string>& options) {
    sys::Command command;
    command.argv = {"ssh", "-F", path("config"), "-o", "BatchMode=yes", "-p", std::to_string(port_)};
    command.argv.insert(command.argv.end(), options.begin(), options.end());
    command.argv.insert(command.argv.end(), {"127.0.0.1", "exit 7"});
    const auto result = sys::run(command, in(Millis(20000)));
    return result && result->exit_code == 7;
  }

  std::vector<std::string> clients() const {
    std::vector<std::string> out;
    std::istringstream log(read(path("sshd.log")));
    for (std::string line; std::getline(log, line);)
      if (const auto at = line.find("remote software version "); at != line.npos)
        out.push_back(line.substr(at + 24));
    return out;
  }

  // How flurry got in, and what it said where it didn't.
  Way way_in(const std::vector<std::string>& options) {
    auto connection = transport().dial(target(options), in(Millis(20000)));
    said_ = connection ? "" : connection.error().message;
    if (!connection) return Way::kNone;
    auto process = (*connection)->exec("exit 7", in(Millis(5000)));
    const auto exit = process ? (*process)->wait(in(Millis(5000))) : process.error();
    EXPECT_TRUE(exit && exit->exit_code == 7);
    return clients().back().starts_with("libssh2") ? Way::kLibssh : Way::kProgram;
  }

  void expect_way(const std::string& lines, Way way, const std::vector<std::string>& options = {}) {
    SCOPED_TRACE(lines);
    // strict_lines() last: the first value of a setting holds.
    configure(lines + strict_lines());
    EXPECT_EQ(ssh_logs_in(options), way != Way::kNone);
    EXPECT_EQ(way_in(options), way) << said_;
  }

  std::string name_, key_, said_;
};

TEST_F(LikeOpenSsh, UsualSetUpsGoTheQuickWay) {
  for (const std::string& lines :
       {std::string(), std::string("SendEnv LANG LC_*\nHashKnownHosts yes\nGSSAPIAuthentication yes\n"),
        std::string("ControlMaster auto\nControlPath ~/.ssh/%C\nControlPersist 10m\n"),
        std::string("ServerAliveInterval 30\nTCPKeepAlive no\nIPQoS none\nLogLevel QUIET\n"),
        std::string("IdentitiesOnly yes\nAddKeysToAgent yes\nUpdateHostKeys no\nCompression yes\n"),
        std::string("Ciphers aes256-ctr,aes256-gcm@openssh.com\nMACs hmac-sha2-512\n"
                    "KexAlgorithms curve25519-sha256\nHostKeyAlgorithms ssh-ed25519,rsa-sha2-512\n"),
        std::string("CanonicalizeHostname yes\nVisualHostKey yes\nEscapeChar none\nUser root\n")})
    expect_way(lines + key_, Way::kLibssh);
}

TEST_F(LikeOpenSsh, WhatTheConfigurationSaysOfStdinAndSessionsIsNotForOurCommands) {
  const std::string odd =
      "RequestTTY force\nRemoteCommand htop\nStdinNull yes\nForkAfterAuthentication yes\nSessionType none\n"
      "LocalForward 1 h:2\n";
  configure(odd + key_ + strict_lines());
  EXPECT_EQ(way_in({}), Way::kLibssh) << said_;
  configure(odd + "ForwardAgent yes\n" + key_ + strict_lines());
  EXPECT_EQ(way_in({}), Way::kProgram) << said_;
}

TEST_F(LikeOpenSsh, WhatOnlyTheProgramDoesGoesByTheProgram) {
  for (const char* line :
       {"ForwardAgent yes", "SetEnv A=1", "Ciphers chacha20-poly1305@openssh.com", "RekeyLimit 1G",
        "BindAddress 127.0.0.1", "MACs umac-64@openssh.com", "PreferredAuthentications publickey"})
    expect_way(std::string(line) + "\n" + key_, Way::kProgram);
}

TEST_F(LikeOpenSsh, WhatNarrowsTrustHolds) {
  expect_way("HostKeyAlgorithms rsa-sha2-512\n" + key_, Way::kNone);
  expect_way("PubkeyAuthentication no\n" + key_, Way::kNone);
  expect_way("PubkeyAcceptedAlgorithms rsa-sha2-512\n" + key_, Way::kNone);
  write(path("revoked"), read(path("host.pub")));
  expect_way("RevokedHostKeys " + path("revoked") + "\n" + key_, Way::kNone);
}

TEST_F(LikeOpenSsh, RulesForACommandHold) {
  expect_way("Match exec true\n IdentityFile " + path("stranger") + "\nMatch all\n" + key_, Way::kLibssh);
}

TEST_F(LikeOpenSsh, ACertificateBesideTheKeyLogsIn) {
  run({"ssh-keygen", "-q", "-s", path("ca"), "-I", "me", "-n", "root", path("stranger.pub")});
  expect_way("IdentityFile " + path("stranger") + "\n", Way::kProgram);
}

TEST_F(LikeOpenSsh, AnRsaKeyLogsInWhateverItsFileLooksLike) {
  expect_way("IdentityFile " + path("rsa") + "\n", Way::kProgram);
  run({"openssl", "genpkey", "-quiet", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out",
       path("pkcs8")});
  ::chmod(path("pkcs8").c_str(), 0600);
  write(path("authorized_keys"), run({"ssh-keygen", "-y", "-f", path("pkcs8")}));
  expect_way("IdentityFile " + path("pkcs8") + "\n", Way::kProgram);
}

TEST_F(LikeOpenSsh, KnownHostsAreFoundWhereverTheyLie) {
  const std::string known = read(path("known_hosts"));
  std::filesystem::create_directory(path("a folder"));
  write(path("a folder/known"), known);
  write(path("for-deploy-127.0.0.1"), known);
  write(path("known_hosts"), "");
  expect_way("UserKnownHostsFile \"" + path("a folder/known") + "\" /nowhere\n" + key_, Way::kLibssh);
  // An alias has no port.
  expect_way("HostKeyAlias deploy\nUserKnownHostsFile " + path("for-%k-%h") + "\n" + key_, Way::kNone);
  expect_way("UserKnownHostsFile " + path("for-deploy-%h") + "\n" + key_, Way::kLibssh);
}

TEST_F(LikeOpenSsh, AKeyThatIsKnownWithoutThePortIsTrusted) {
  write(path("known_hosts"), "127.0.0.1 " + read(path("host.pub")));
  expect_way(key_, Way::kLibssh);
  write(path("known_hosts"), "127.0.0.1 " + read(path("stranger.pub")));
  expect_way(key_, Way::kNone);
}

TEST_F(LikeOpenSsh, OptionsOfTheFlakeAreThoseOfSsh) {
  expect_way(key_, Way::kLibssh, {"-4", "-C"});
  expect_way(key_, Way::kProgram, {"-A"});
  expect_way("Host jump\n HostName 127.0.0.1\n Port " + std::to_string(port_) + "\nHost *\n" + key_,
             Way::kProgram, {"-J", "jump"});
  for (const std::vector<std::string>& left_out : {std::vector<std::string>{"-tt"}, {"-n"}, {"-S", "none"}}) {
    configure(strict_lines() + "ForwardAgent yes\n" + key_);
    EXPECT_EQ(way_in(left_out), Way::kProgram) << said_;
  }
}

TEST_F(LikeOpenSsh, TheProgramsHostKeysAreToldAsWellAsOurs) {
  const auto rsa = run({"ssh-keygen", "-l", "-f", path("host_rsa.pub")});
  const auto fingerprint = rsa.substr(rsa.find("SHA256:"), 50);
  // Nothing is known of it.
  write(path("known_hosts"), "");
  expect_way("HostKeyAlgorithms rsa-sha2-512\n" + key_, Way::kNone);
  EXPECT_NE(said_.find("is not known: it shows the RSA key " + fingerprint), std::string::npos) << said_;
  EXPECT_NE(said_.find("ssh-keyscan"), std::string::npos) << said_;
  // Another RSA key is.
  write(path("known_hosts"), "\n" + name_ + " " + read(path("rsa.pub")));
  expect_way(key_, Way::kNone);
  EXPECT_NE(said_.find("has changed: it shows the RSA key " + fingerprint), std::string::npos) << said_;
  EXPECT_NE(said_.find("known_hosts:2 holds the RSA key SHA256:"), std::string::npos) << said_;
}

TEST_F(LikeOpenSsh, ARefusedLoginIsTriedByTheProgramAndToldInOurWords) {
  configure(strict_lines() + "IdentityFile " + path("stranger") + "\n");
  EXPECT_EQ(way_in({}), Way::kNone);
  EXPECT_NE(said_.find("tried ~/stranger"), std::string::npos) << said_;
  EXPECT_NE(said_.find("The ssh program gets no further"), std::string::npos) << said_;
  EXPECT_TRUE(clients().back().starts_with("OpenSSH"));
}

TEST_F(LikeOpenSsh, AFolderForTemporaryFilesThatIsGoneDoesNoHarm) {
  ::setenv("TMPDIR", path("gone").c_str(), 1);
  expect_way("ForwardAgent yes\n" + key_, Way::kProgram);
  ::unsetenv("TMPDIR");
}

}  // namespace
}  // namespace flurry::ssh
