#include "tests/bench/relay/relay.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace flurry::bench {
namespace {

constexpr size_t kLargestRead = 256 * 1024;

sockaddr_in address_of(const std::string& text, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  inet_pton(AF_INET, text.c_str(), &address.sin_addr);
  return address;
}

void watch(int epoll, int fd, uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) {
    std::perror("bench-relay: epoll_ctl");
    std::abort();
  }
}

void no_delay(int fd) {
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

}  // namespace

uint64_t Shape::limit() const {
  if (bits_per_second == 0) return window;
  return std::min(window, bits_per_second / 8 * static_cast<uint64_t>(rtt.count()) / 1'000'000 + kBuffer);
}

size_t Shape::chunk() const {
  if (bits_per_second == 0) return kLargestRead;
  return std::clamp<uint64_t>(bits_per_second / 8 / 1000, 1500, kLargestRead);
}

Relay::Relay() : epoll_(epoll_create1(EPOLL_CLOEXEC)), scratch_(kLargestRead) {
  watch(epoll_, STDIN_FILENO, EPOLLIN);
}

bool Relay::add(uint16_t port, const std::string& address, uint16_t target_port) {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener < 0) return false;
  int one = 1;
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  sockaddr_in here = address_of("127.0.0.1", port);
  if (bind(listener, reinterpret_cast<sockaddr*>(&here), sizeof here) != 0 || listen(listener, 64) != 0)
    return false;
  watch(epoll_, listener, EPOLLIN);
  targets_.push_back({listener, address, target_port, {}, {}});
  return true;
}

void Relay::accept_all(size_t target) {
  int client = accept4(targets_[target].listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (client < 0) return;
  no_delay(client);
  ++counts_.connections;
  Connection& connection = connections_.emplace_back();
  connection.client = client;
  connection.target = target;
  // The three ways of TCP's handshake: this is when a server so far away would see the connection.
  connection.dial = Clock::now() + shape_.rtt * 3 / 2;
  watch(epoll_, client, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

void Relay::dial(Connection& connection) {
  int server = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const Target& target = targets_[connection.target];
  sockaddr_in there = address_of(target.address, target.port);
  // Blocking: the targets are on this machine.
  if (server < 0 || connect(server, reinterpret_cast<sockaddr*>(&there), sizeof there) != 0) {
    if (server >= 0) close(server);
    connection.broken = true;
    return;
  }
  no_delay(server);
  connection.server = server;
  connection.up.from = connection.down.to = connection.client;
  connection.up.to = connection.down.from = server;
  watch(epoll_, server, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

bool Relay::receive(Stream& stream, Wire& wire, uint64_t& count, Connection& owner, Clock::time_point now) {
  if (!stream.readable || stream.ended || stream.in_flight >= shape_.limit()) return false;
  ssize_t got = recv(stream.from, scratch_.data(), std::min(shape_.chunk(), scratch_.size()), MSG_DONTWAIT);
  if (got < 0) {
    stream.readable = false;
    if (errno != EAGAIN && errno != EINTR) owner.broken = true;
    return false;
  }
  auto size = static_cast<uint64_t>(got);
  auto sent = std::max(now, wire.free);
  if (shape_.bits_per_second)
    sent += std::chrono::nanoseconds(size * 8 * 1'000'000'000 / shape_.bits_per_second);
  wire.free = sent;
  stream.queue.push_back({std::string(scratch_.data(), size), sent + shape_.rtt / 2});
  if (size == 0) {
    stream.ended = true;
    return false;
  }
  count += size;
  stream.in_flight += size;
  return true;
}

void Relay::deliver(Stream& stream, Connection& owner, Clock::time_point now) {
  for (; !stream.acks.empty() && stream.acks.front().due <= now; stream.acks.pop_front())
    stream.in_flight -= stream.acks.front().bytes;
  while (stream.writable && !stream.queue.empty() && stream.queue.front().due <= now) {
    auto& chunk = stream.queue.front();
    if (chunk.bytes.empty()) {
      shutdown(stream.to, SHUT_WR);
      stream.queue.pop_front();
      stream.done = true;
      return;
    }
    ssize_t put = send(stream.to, chunk.bytes.data() + stream.offset, chunk.bytes.size() - stream.offset,
                       MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put < 0) {
      stream.writable = false;
      if (errno != EAGAIN && errno != EINTR) owner.broken = true;
      return;
    }
    stream.offset += static_cast<size_t>(put);
    if (stream.offset < chunk.bytes.size()) continue;
    stream.acks.push_back({chunk.bytes.size(), now + shape_.rtt / 2});
    stream.offset = 0;
    stream.queue.pop_front();
  }
}

bool Relay::pump(Connection& connection, Clock::time_point now) {
  if (connection.server < 0) {
    if (connection.dial > now) return false;
    dial(connection);
  }
  if (connection.broken) return false;
  deliver(connection.up, connection, now);
  deliver(connection.down, connection, now);
  Target& target = targets_[connection.target];
  bool more = receive(connection.up, target.up, counts_.up, connection, now);
  return receive(connection.down, target.down, counts_.down, connection, now) || more;
}

Clock::time_point Relay::next_time(Clock::time_point now) const {
  auto soonest = now + std::chrono::seconds(1);
  for (const Connection& connection : connections_) {
    if (connection.server < 0) soonest = std::min(soonest, connection.dial);
    for (const Stream* stream : {&connection.up, &connection.down}) {
      if (stream->writable && !stream->queue.empty()) soonest = std::min(soonest, stream->queue.front().due);
      if (!stream->acks.empty()) soonest = std::min(soonest, stream->acks.front().due);
    }
  }
  return soonest;
}

void Relay::wait(Clock::time_point until) {
  auto left = std::max<int64_t>(0, std::chrono::nanoseconds(until - Clock::now()).count());
  timespec time{left / 1'000'000'000, left % 1'000'000'000};
  std::array<epoll_event, 64> events;
  int count = epoll_pwait2(epoll_, events.data(), events.size(), &time, nullptr);
  for (int i = 0; i < count; ++i) {
    int fd = events[i].data.fd;
    if (fd == STDIN_FILENO) input_ = true;
    for (size_t target = 0; target < targets_.size(); ++target)
      if (targets_[target].listener == fd) accept_all(target);
    bool in = events[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
    bool out = events[i].events & (EPOLLOUT | EPOLLHUP | EPOLLERR);
    for (Connection& connection : connections_)
      for (Stream* stream : {&connection.up, &connection.down}) {
        if (stream->from == fd && in) stream->readable = true;
        if (stream->to == fd && out) stream->writable = true;
      }
  }
}

void Relay::close_ended() {
  connections_.remove_if([](Connection& connection) {
    if (!connection.broken && !(connection.up.done && connection.down.done)) return false;
    close(connection.client);
    if (connection.server >= 0) close(connection.server);
    return true;
  });
}

bool Relay::run(std::string* line) {
  while (true) {
    if (input_) {
      input_ = false;
      char buffer[256];
      ssize_t got = read(STDIN_FILENO, buffer, sizeof buffer);
      if (got <= 0 || pending_.size() > 4096) return false;
      pending_.append(buffer, static_cast<size_t>(got));
    }
    if (size_t end = pending_.find('\n'); end != std::string::npos) {
      *line = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return true;
    }
    bool more = false;
    auto now = Clock::now();
    for (Connection& connection : connections_) more |= pump(connection, now);
    close_ended();
    wait(more ? now : next_time(now));
  }
}

}  // namespace flurry::bench
