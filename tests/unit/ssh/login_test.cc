#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "tests/unit/ssh/sshd_fixture.h"

namespace flurry::ssh {
namespace {

using LoginTest = SshdTest;

TEST_F(LoginTest, KeyFile) {
  const auto connection = must_dial();
  ASSERT_TRUE(connection);
  EXPECT_NE(connection->peer().find("@127.0.0.1:" + std::to_string(port_)), std::string::npos);
}

TEST_F(LoginTest, AgentAlone) {
  const auto text = run({"ssh-agent", "-s", "-a", path("agent")});
  const std::string word = "SSH_AGENT_PID=";
  ASSERT_NE(text.find(word), std::string::npos) << text;
  const pid_t agent = std::stoi(text.substr(text.find(word) + word.size()));
  ::setenv("SSH_AUTH_SOCK", path("agent").c_str(), 1);
  run({"ssh-add", "-q", path("stranger")});
  run({"ssh-add", "-q", path("login")});
  configure(strict_lines() + "IdentityFile none\n");
  EXPECT_TRUE(must_dial());

  // A frozen agent costs its bound, not the dial's whole time, and says so.
  ::kill(agent, SIGSTOP);
  const auto frozen = dial();
  ::kill(agent, SIGKILL);
  ASSERT_FALSE(frozen.has_value());
  EXPECT_NE(frozen.error().message.find("ssh agent"), std::string::npos) << frozen.error().message;
}

TEST_F(LoginTest, UnknownHostKeyIsRefused) {
  write(path("known_hosts"), "");
  const auto connection = dial();
  ASSERT_FALSE(connection.has_value());
  EXPECT_EQ(connection.error().kind, ErrorKind::kRefused);
  EXPECT_NE(connection.error().message.find("SHA256:"), std::string::npos) << connection.error().message;
  EXPECT_EQ(read(path("known_hosts")), "");
}

TEST_F(LoginTest, AcceptNewLearnsOnce) {
  for (const char* hashed : {"no", "yes"}) {
    std::filesystem::remove_all(path("new"));
    configure("UserKnownHostsFile " + path("new") + "/kh\nGlobalKnownHostsFile none\nIdentityFile " +
              path("login") + "\nStrictHostKeyChecking accept-new\nHashKnownHosts " + hashed + "\n");
    transport();  // made before several threads use it
    std::vector<std::thread> threads;
    for (int i = 0; i < 6; ++i) threads.emplace_back([this] { EXPECT_TRUE(dial().has_value()); });
    for (auto& t : threads) t.join();
    const auto text = read(path("new/kh"));
    EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1) << text;
    EXPECT_EQ(text.starts_with("|1|"), std::string(hashed) == "yes") << text;
    struct stat info {};
    ASSERT_EQ(::stat(path("new/kh").c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u);
    configure(strict_lines() + "UserKnownHostsFile " + path("new/kh") + "\nIdentityFile " + path("login") +
              "\n");
    EXPECT_TRUE(must_dial());
  }
}

TEST_F(LoginTest, ChangedHostKeyIsRefused) {
  const auto name = "[127.0.0.1]:" + std::to_string(port_) + " ";
  write(path("known_hosts"), "# first\n" + name + read(path("stranger.pub")));
  configure(strict_lines() + "StrictHostKeyChecking no\nIdentityFile " + path("login") + "\n");
  const auto connection = dial();
  ASSERT_FALSE(connection.has_value());
  EXPECT_EQ(connection.error().kind, ErrorKind::kRefused);
  EXPECT_NE(connection.error().message.find("known_hosts:2"), std::string::npos)
      << connection.error().message;
}

TEST_F(LoginTest, HostKnownByItsSecondKeyType) {
  write(path("known_hosts"), "[127.0.0.1]:" + std::to_string(port_) + " " + read(path("host_ecdsa.pub")));
  EXPECT_TRUE(must_dial());
}

TEST_F(LoginTest, WrongKeyIsRefusedAndNamed) {
  configure(strict_lines() + "IdentityFile " + path("stranger") + "\n");
  const auto connection = dial();
  ASSERT_FALSE(connection.has_value());
  EXPECT_EQ(connection.error().kind, ErrorKind::kRefused);
  EXPECT_NE(connection.error().message.find("tried ~/stranger"), std::string::npos)
      << connection.error().message;
}

TEST_F(LoginTest, EncryptedKeyAdvisesTheAgent) {
  run({"ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", path("locked")});
  configure(strict_lines() + "IdentityFile " + path("locked") + "\n");
  const auto connection = dial();
  ASSERT_FALSE(connection.has_value());
  EXPECT_NE(connection.error().message.find("ssh-add ~/locked"), std::string::npos)
      << connection.error().message;
}

TEST_F(LoginTest, RsaKeyGoesByTheProgram) {
  configure(strict_lines() + "IdentityFile " + path("rsa") + "\n");
  const auto connection = must_dial();
  ASSERT_TRUE(connection);
  auto process = connection->exec("exit 4", in(Millis(5000)));
  ASSERT_TRUE(process.has_value());
  const auto exit = (*process)->wait(in(Millis(5000)));
  ASSERT_TRUE(exit.has_value()) << exit.error().message;
  EXPECT_EQ(exit->exit_code, 4);
}

TEST_F(LoginTest, FiftyDialsWithACapOfEight) {
  transport(8);
  std::vector<std::thread> threads;
  for (int i = 0; i < 50; ++i)
    threads.emplace_back([this] {
      const auto connection = dial(Millis(60000));
      EXPECT_TRUE(connection.has_value()) << connection.error().message;
    });
  for (auto& t : threads) t.join();
}

}  // namespace
}  // namespace flurry::ssh
