#include "agent/probe.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

namespace flurry::agent {
namespace {

// Answers one connection with fixed bytes, in a process of its own; nothing to say: hangs.
class OneAnswer {
 public:
  explicit OneAnswer(const std::string& answer) {
    const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener, 4), 0);
    ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
    port_ = std::to_string(ntohs(address.sin_port));
    pid_ = ::fork();
    if (pid_ == 0) {
      const int peer = ::accept(listener, nullptr, nullptr);
      char buffer[4096];
      [[maybe_unused]] ssize_t n = ::read(peer, buffer, sizeof buffer);
      if (answer.empty()) ::pause();
      for (size_t at = 0; at < answer.size() && n >= 0; at += static_cast<size_t>(n))
        n = ::send(peer, answer.data() + at, answer.size() - at, MSG_NOSIGNAL);
      ::_exit(0);
    }
    ::close(listener);
  }
  ~OneAnswer() {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  const std::string& port() const { return port_; }

 private:
  std::string port_;
  pid_t pid_ = -1;
};

// In a child, since a probe ends its process at the timeout.
int probe(std::vector<std::string> words, const std::string& input = "") {
  int ends[2];
  EXPECT_EQ(::pipe(ends), 0);
  const pid_t pid = ::fork();
  if (pid == 0) {
    ::dup2(ends[0], 0);
    ::close(ends[1]);
    ::_exit(run_probe(words));
  }
  ::close(ends[0]);
  EXPECT_EQ(::write(ends[1], input.data(), input.size()), static_cast<ssize_t>(input.size()));
  ::close(ends[1]);
  int status = 0;
  ::waitpid(pid, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int probe_http(const std::string& answer, std::vector<std::string> options = {}, std::string body = "") {
  const OneAnswer server(answer);
  std::vector<std::string> words = {"http", "--timeout-ms", "700"};
  words.insert(words.end(), options.begin(), options.end());
  const HttpCheck check{.url = "http://127.0.0.1:" + server.port() + "/healthz", .body = std::move(body)};
  return probe(words, encode_probe_secrets(check));
}

std::string answer_of(int status, const std::string& body) {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

TEST(Probe, JudgesHttp) {
  EXPECT_EQ(probe_http(answer_of(200, "ok")), 0);
  EXPECT_EQ(probe_http(answer_of(500, "broken")), 1);
  EXPECT_EQ(probe_http(answer_of(500, "broken"), {"--status", "500"}), 0);
  EXPECT_EQ(probe_http(answer_of(200, "release 2"), {}, "release 2"), 0);
  EXPECT_EQ(probe_http(answer_of(200, "release 1"), {}, "release 2"), 1);
  EXPECT_EQ(probe_http(""), 1) << "hangs";
  EXPECT_EQ(probe_http("no http at all\r\n\r\n"), 1);
  EXPECT_EQ(probe_http(answer_of(200, std::string(3 << 20, 'x')), {}, "y"), 1) << "huge";
  EXPECT_EQ(probe({"http"}), 2) << "nothing to probe";
}

TEST(Probe, JudgesTcp) {
  const OneAnswer server("x");
  EXPECT_EQ(probe({"tcp", "--", "127.0.0.1", server.port()}), 0);
  EXPECT_EQ(probe({"tcp", "--", "127.0.0.1", "1"}), 1);
  EXPECT_EQ(probe({"tcp"}), 2);
}

}  // namespace
}  // namespace flurry::agent
