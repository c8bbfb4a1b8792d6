#pragma once

// A binary cache by HTTP that holds back some of its answers.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <list>
#include <string>
#include <thread>

#include "core/sys/clock.h"
#include "core/sys/fd.h"

namespace flurry {

// Serves the files of `folder` on a port that the system chose, but for paths that start with `held_back`:
// those requests stay without an answer until this is destroyed.
class SlowCache {
 public:
  SlowCache(std::string folder, std::string held_back)
      : folder_(std::move(folder)), held_back_(std::move(held_back)) {
    listener_ = sys::Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* any = reinterpret_cast<sockaddr*>(&address);
    if (::bind(listener_.get(), any, size) == 0 && ::listen(listener_.get(), 64) == 0 &&
        ::getsockname(listener_.get(), any, &size) == 0)
      port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { accept_all(); });
  }
  ~SlowCache() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    thread_.join();
  }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  size_t held_back() const { return held_count_; }

 private:
  void accept_all() {
    std::list<sys::Fd> open;
    for (;;) {
      sys::Fd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!peer.is_open()) return;
      if (!answer(peer.get())) open.push_back(std::move(peer));
    }
  }

  // False: it gets no answer.
  bool answer(int fd) {
    const auto deadline = sys::now() + Millis(20'000);
    std::string request;
    char buffer[4096];
    while (request.find("\r\n\r\n") == std::string::npos) {
      const auto n = sys::read_some(fd, buffer, deadline);
      if (!n || *n == 0) return true;
      request.append(buffer, *n);
    }
    const size_t from = request.find(' ') + 1;
    const std::string path = request.substr(from, request.find(' ', from) - from);
    if (path.starts_with(held_back_)) {
      ++held_count_;
      return false;
    }
    std::ifstream file(folder_ + path, std::ios::binary);
    const std::string content{std::istreambuf_iterator<char>(file), {}};
    const std::string reply = std::string("HTTP/1.1 ") + (file.is_open() ? "200 OK" : "404 Not Found") +
                              "\r\nConnection: close\r\nContent-Length: " + std::to_string(content.size()) +
                              "\r\n\r\n" + (request.starts_with("HEAD") ? "" : content);
    static_cast<void>(sys::write_all(fd, reply, deadline));
    return true;
  }

  const std::string folder_, held_back_;
  sys::Fd listener_;
  unsigned port_ = 0;
  std::atomic<size_t> held_count_{0};
  std::thread thread_;
};

}  // namespace flurry
