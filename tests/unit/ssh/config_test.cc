#include <gtest/gtest.h>

#include "cli/ssh/encoding.h"
#include "cli/ssh/identity.h"
#include "cli/ssh/program_transport.h"
#include "cli/ssh/ssh_config.h"
#include "cli/ssh/ssh_options.h"

namespace flurry::ssh {
namespace {

const std::string kPlain = "user deploy\nhostname web.example\nport 2222\n";

TEST(SshConfig, ReadsWhatMatters) {
  const auto config =
      parse_ssh_config(kPlain +
                           "stricthostkeychecking accept-new\nidentitiesonly yes\n"
                           "hashknownhosts yes\nhostkeyalias other\nconnecttimeout 7\n"
                           "userknownhostsfile ~/.ssh/%h /b\nglobalknownhostsfile /g\n"
                           "identityagent none\naddressfamily inet\nidentityfile /nowhere/%u\n",
                       "web", "/home/me", "/agent");
  ASSERT_TRUE(config.has_value()) << config.error().message;
  EXPECT_EQ(config->hostname, "web.example");
  EXPECT_EQ(config->port, 2222);
  EXPECT_EQ(config->user, "deploy");
  EXPECT_EQ(config->strict, StrictChecking::kAcceptNew);
  EXPECT_TRUE(config->identities_only);
  EXPECT_TRUE(config->hash_known_hosts);
  EXPECT_EQ(config->host_key_alias, "other");
  EXPECT_EQ(config->connect_timeout_s, 7);
  EXPECT_EQ(config->user_known_hosts, (std::vector<std::string>{"/home/me/.ssh/web.example", "/b"}));
  EXPECT_EQ(config->global_known_hosts, std::vector<std::string>{"/g"});
  EXPECT_EQ(config->agent_socket, "");
  EXPECT_TRUE(config->identity_files.empty()) << "only files that exist";
  EXPECT_TRUE(config->program_only.empty());
}

TEST(SshConfig, LeavesSomeThingsToTheProgram) {
  for (const char* line :
       {"proxyjump bastion", "proxycommand nc %h %p", "certificatefile ~/c", "bindaddress ::1",
        "knownhostscommand /x", "revokedhostkeys /r", "pkcs11provider /p.so"}) {
    const auto config = parse_ssh_config(kPlain + line + "\n", "web", "/", "");
    ASSERT_TRUE(config.has_value()) << line;
    EXPECT_EQ(config->program_only.size(), 1u) << line;
  }
  EXPECT_TRUE(parse_ssh_config(kPlain + "proxyjump none\n", "web", "/", "")->program_only.empty());
}

TEST(SshConfig, LeavesToTheProgramWhateverIsNotKnownToBeDone) {
  for (const char* line :
       {"forwardagent yes", "setenv A=1", "sendenv SECRET", "pubkeyauthentication false",
        "preferredauthentications keyboard-interactive", "verifyhostkeydns true", "rekeylimit 1024 0",
        "permitlocalcommand yes", "a-setting-of-2030 yes", "ciphers chacha20-poly1305@openssh.com",
        "hostkeyalgorithms rsa-sha2-512", "macs umac-64@openssh.com", "kexalgorithms sntrup761x25519-sha512",
        "pubkeyacceptedalgorithms rsa-sha2-512", "identityfile /x/%C", "userknownhostsfile /x/%C /y"}) {
    const auto config = parse_ssh_config(kPlain + line + "\n", "web", "/", "");
    ASSERT_TRUE(config.has_value()) << line;
    EXPECT_EQ(config->program_only.size(), 1u) << line;
  }
}

TEST(SshConfig, NarrowsWhatIsOffered) {
  const auto config = parse_ssh_config(kPlain +
                                           "ciphers aes256-ctr,chacha20-poly1305@openssh.com\n"
                                           "macs hmac-sha2-512\nkexalgorithms ecdh-sha2-nistp256\n"
                                           "hostkeyalgorithms rsa-sha2-512,ecdsa-sha2-nistp256\n"
                                           "pubkeyacceptedalgorithms ssh-ed25519\n",
                                       "web", "/", "");
  ASSERT_TRUE(config.has_value());
  EXPECT_TRUE(config->program_only.empty());
  EXPECT_EQ(config->algorithms.ciphers, "aes256-ctr");
  EXPECT_EQ(config->algorithms.macs, "hmac-sha2-512");
  EXPECT_EQ(config->algorithms.key_exchanges, "ecdh-sha2-nistp256");
  EXPECT_EQ(config->algorithms.host_keys, "ecdsa-sha2-nistp256");
  EXPECT_EQ(config->accepted_keys, "ssh-ed25519");
}

TEST(SshConfig, ReadsFilesAsSshDoes) {
  const auto files = [](const std::string& line) {
    return parse_ssh_config(kPlain + "hostkeyalias other\nuserknownhostsfile " + line + "\n", "web",
                            "/home/me", "")
        ->user_known_hosts;
  };
  using Files = std::vector<std::string>;
  EXPECT_EQ(files("/a path/with blank ~/.ssh/b"), (Files{"/a path/with blank", "/home/me/.ssh/b"}));
  EXPECT_EQ(files("/k-%k-%n-%r-%p-%%"), Files{"/k-other-web-deploy-2222-%"});
  EXPECT_EQ(files("~root/k"), Files{"/root/k"});
  EXPECT_EQ(files("none"), Files{});
}

TEST(SshOptions, AreThoseThatAConnectionOfItsOwnCanHave) {
  const auto usable = [](const std::vector<std::string>& given) {
    const auto out = usable_ssh_options(given);
    return out ? *out : std::vector<std::string>{out.error().message};
  };
  using Words = std::vector<std::string>;
  EXPECT_EQ(usable({"-J", "bastion"}), (Words{"-o", "ProxyJump=bastion"}));
  EXPECT_EQ(usable({"-Jbastion"}), (Words{"-o", "ProxyJump=bastion"}));
  EXPECT_EQ(usable({"-oUser=x", "-p", "23", "-4Ai", "key"}),
            (Words{"-o", "User=x", "-p", "23", "-4", "-A", "-i", "key"}));
  EXPECT_EQ(usable({"-tt", "-n", "-S", "none", "-vvq", "-L", "1:h:2", "-4"}), Words{"-4"});
}

TEST(SshOptions, AreRefusedByNameWhereTheyCantBeUsed) {
  for (const std::string bad :
       {"-N", "-f", "-W", "-s", "-G", "-V", "-Q", "-O", "-p", "-Z", "host", "--", "-", ""}) {
    const auto out = usable_ssh_options({bad});
    ASSERT_FALSE(out.has_value()) << bad;
    EXPECT_EQ(out.error().kind, ErrorKind::kInvalidInput);
    EXPECT_NE(out.error().message.find(bad), std::string::npos) << out.error().message;
  }
}

TEST(SshConfig, RefusesHostileOutput) {
  for (const std::string& text :
       {std::string(), std::string("user x\n"), std::string("hostname x\n"), kPlain + "port 0\n",
        kPlain + "port 65536\n", kPlain + "port 22x\n", kPlain + "stricthostkeychecking maybe\n",
        kPlain + "connecttimeout -1\n", std::string("user x\nhostname -oProxyCommand=x\n"),
        kPlain + std::string("\0", 1)})
    EXPECT_FALSE(parse_ssh_config(text, "web", "/", "").has_value()) << text;
}

TEST(SshConfig, MissingProgramIsAClearError) {
  const Target target{*HostName::parse("web"), {"web"}, {}, {}, {}, {}};
  const auto config =
      ask_ssh_config({"/nonexistent/ssh", {}}, target, "web", TimePoint::max() - Millis(1000000));
  ASSERT_FALSE(config.has_value());
  EXPECT_NE(config.error().message.find("ssh program is needed"), std::string::npos)
      << config.error().message;
}

TEST(Encoding, Base64IsStrict) {
  EXPECT_EQ(base64_decode("Zm9v"), "foo");
  EXPECT_EQ(base64_decode(base64_encode("fo")), "fo");
  for (const char* bad : {"", "Zm9", "Zm9v\n", "Z=9v", "====", "Zm 9"})
    EXPECT_FALSE(base64_decode(bad)) << bad;
}

TEST(KeyFile, TellsWhatItIs) {
  EXPECT_EQ(inspect_key_text("-----BEGIN RSA PRIVATE KEY-----\n").type, "ssh-rsa");
  EXPECT_TRUE(inspect_key_text("-----BEGIN ENCRYPTED PRIVATE KEY-----\n").is_encrypted);
  EXPECT_EQ(inspect_key_text("-----BEGIN OPENSSH PRIVATE KEY-----\n!!!!\n-----END").type, "");
  EXPECT_EQ(inspect_key_text("").type, "");
}

TEST(ProgramError, SaysWhatTheCallerCanDo) {
  EXPECT_EQ(program_error("x@y: Permission denied (publickey).\r\n").kind, ErrorKind::kRefused);
  EXPECT_EQ(program_error("Host key verification failed.\n").kind, ErrorKind::kRefused);
  EXPECT_EQ(program_error("** WARNING: connection is not using a post-quantum key exchange\r\n"
                          "** This session may be vulnerable.\nx@y: Permission denied\n")
                .message,
            "ssh: x@y: Permission denied");
  EXPECT_EQ(program_error("ssh: connect to host y port 22: Connection refused\n").kind,
            ErrorKind::kUnreachable);
}

}  // namespace
}  // namespace flurry::ssh
