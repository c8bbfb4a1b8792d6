#include "tests/unit/ssh/sshd_fixture.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <system_error>

#include "core/sys/clock.h"
#include "core/sys/subprocess.h"

namespace flurry::ssh {
namespace {

constexpr const char* kSshd = "/usr/sbin/sshd";

int free_port() {
  const sys::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0) return 0;
  ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size);
  return ntohs(address.sin_port);
}

bool is_listening(int port) {
  const sys::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(static_cast<uint16_t>(port));
  return ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

// Made once for all tests of a program: RSA keys take their time.
const std::string& SshdTest::keys() {
  struct Keys {
    Keys() {
      if (::mkdtemp(folder.data()) == nullptr) return;
      for (const char* name : {"host", "login", "stranger", "ca"}) make(name, "ed25519");
      make("host_ecdsa", "ecdsa");
      for (const char* name : {"rsa", "host_rsa"}) make(name, "rsa");
    }
    ~Keys() {
      std::error_code error;
      std::filesystem::remove_all(folder, error);
    }
    void make(const std::string& name, const std::string& type) const {
      run({"ssh-keygen", "-q", "-t", type, "-N", "", "-f", folder + "/" + name});
    }
    std::string folder = "/tmp/flurry-ssh-keys-XXXXXX";
  };
  static const Keys keys;
  return keys.folder;
}

void SshdTest::SetUp() {
  if (::access(kSshd, X_OK) != 0) GTEST_SKIP() << "no " << kSshd;
  std::string name = "/tmp/flurry-ssh-test-XXXXXX";
  ASSERT_NE(::mkdtemp(name.data()), nullptr);
  directory_ = name;
  ::setenv("HOME", directory_.c_str(), 1);
  ::unsetenv("SSH_AUTH_SOCK");
  if (::getuid() == 0) ::mkdir("/run/sshd", 0755);  // sshd wants its empty directory
  std::filesystem::copy(keys(), directory_);
  write(path("authorized_keys"), read(path("login.pub")) + read(path("rsa.pub")));
  for (int attempt = 0; attempt < 10 && !is_listening(port_); ++attempt) {
    if (sshd_ > 0) ::waitpid(sshd_, nullptr, 0);
    port_ = free_port();
    write(path("sshd_config"), "Port " + std::to_string(port_) + "\nListenAddress 127.0.0.1\nHostKey " +
                                   path("host") + "\nHostKey " + path("host_ecdsa") + "\nHostKey " +
                                   path("host_rsa") + "\nTrustedUserCAKeys " + path("ca.pub") +
                                   "\nAuthorizedKeysFile " + path("authorized_keys") + "\nLogLevel DEBUG1" +
                                   "\nStrictModes no\nPidFile none\nUsePAM no\nPermitRootLogin yes\n"
                                   "MaxSessions 100\nMaxStartups 16:100:16\nPasswordAuthentication no\n"
                                   "KbdInteractiveAuthentication no\nAllowTcpForwarding yes\n");
    std::vector<std::string> argv = {kSshd, "-D", "-f", path("sshd_config"), "-E", path("sshd.log")};
    std::vector<char*> pointers;
    for (auto& a : argv) pointers.push_back(a.data());
    pointers.push_back(nullptr);
    ASSERT_EQ(::posix_spawn(&sshd_, kSshd, nullptr, nullptr, pointers.data(), environ), 0);
    // Ready when it takes connections; ended when the port was taken in between.
    while (!is_listening(port_) && ::waitpid(sshd_, nullptr, WNOHANG) == 0) ::poll(nullptr, 0, 5);
  }
  std::istringstream words(read(path("host.pub")));
  std::string type, blob;
  words >> type >> blob;
  write(path("known_hosts"), "[127.0.0.1]:" + std::to_string(port_) + " " + type + " " + blob + "\n");
  configure(strict_lines() + "IdentityFile " + path("login") + "\n");
}

void SshdTest::TearDown() {
  transport_.reset();
  if (sshd_ > 0) {
    for (pid_t pid : session_pids()) ::kill(pid, SIGKILL);
    ::kill(sshd_, SIGTERM);
    ::waitpid(sshd_, nullptr, 0);
  }
  if (HasFailure()) std::cerr << read(path("sshd.log"));
  std::error_code error;
  if (!directory_.empty()) std::filesystem::remove_all(directory_, error);
}

std::string SshdTest::strict_lines() const {
  return "UserKnownHostsFile " + path("known_hosts") + "\nGlobalKnownHostsFile none\n";
}

void SshdTest::configure(const std::string& lines) { write(path("config"), lines); }

Target SshdTest::target(std::vector<std::string> options) const {
  Target t{*HostName::parse("web"), {"127.0.0.1"}, {}, {}, {}, std::move(options)};
  t.port = static_cast<uint16_t>(port_);
  return t;
}

LibsshTransport& SshdTest::transport(size_t handshakes_max) {
  if (!transport_) {
    TransportOptions options;
    options.handshakes_max = handshakes_max;
    options.program.arguments = {"-F", path("config")};
    transport_ = std::make_unique<LibsshTransport>(options);
  }
  return *transport_;
}

Result<std::unique_ptr<Connection>> SshdTest::dial(Millis patience) {
  return transport().dial(target(), in(patience));
}

std::unique_ptr<Connection> SshdTest::must_dial() {
  auto connection = dial();
  EXPECT_TRUE(connection.has_value()) << connection.error().message;
  return connection ? std::move(*connection) : nullptr;
}

std::string SshdTest::run(const std::vector<std::string>& argv) {
  sys::Command command;
  command.argv = argv;
  auto out = sys::run_checked(command, in(Millis(120000)));
  EXPECT_TRUE(out.has_value()) << out.error().message;
  return out ? *out : "";
}

void SshdTest::write(const std::string& file, const std::string& text, int mode) {
  std::ofstream(file, std::ios::binary | std::ios::trunc) << text;
  ::chmod(file.c_str(), static_cast<mode_t>(mode));
}

std::string SshdTest::read(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

TimePoint SshdTest::in(Millis time) { return sys::now() + time; }

std::vector<pid_t> SshdTest::children_of(pid_t parent) {
  const auto pid = std::to_string(parent);
  std::istringstream list(read("/proc/" + pid + "/task/" + pid + "/children"));
  std::vector<pid_t> pids;
  for (pid_t child; list >> child;)
    if (read("/proc/" + std::to_string(child) + "/comm").starts_with("sshd")) pids.push_back(child);
  return pids;
}

size_t SshdTest::connections() const { return children_of(sshd_).size(); }

std::vector<pid_t> SshdTest::session_pids() const {
  auto pids = children_of(sshd_);
  for (size_t i = 0; i < pids.size(); ++i)
    for (const pid_t child : children_of(pids[i])) pids.push_back(child);
  return pids;
}

}  // namespace flurry::ssh
