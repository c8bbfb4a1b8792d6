#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <vector>

// A TCP relay that makes a loopback connection long or slow, for benchmarks. One thread; not for production.
namespace flurry::bench {

using Clock = std::chrono::steady_clock;

// What a link is made to be. rate 0: unlimited.
struct Shape {
  std::chrono::microseconds rtt{0};
  uint64_t bits_per_second = 0;
  uint64_t window =
      4 << 20;  // as Linux's default limit of a sender's buffer: no more in flight for one connection

  // Bytes of one direction of a connection that may be under way: the window, and on a limited link no more
  // than its bandwidth-delay product and kBuffer, or a slow link would hide seconds in its queue.
  uint64_t limit() const;
  // How much is read at once: a millisecond's worth, so that connections take turns on a slow link.
  size_t chunk() const;
};

inline constexpr uint64_t kBuffer = 256 * 1024;

// What has passed, in payload bytes of TCP.
struct Counts {
  uint64_t up = 0, down = 0, connections = 0;
};

// One direction of the way to one target. Its rate is shared by all connections.
struct Wire {
  Clock::time_point free{};
};

// One direction of one connection.
struct Stream {
  struct Chunk {
    std::string bytes;  // empty: end of file
    Clock::time_point due;
  };
  struct Ack {
    uint64_t bytes;
    Clock::time_point due;
  };
  int from = -1, to = -1;
  bool readable = true, writable = true, ended = false, done = false;
  size_t offset = 0;
  uint64_t in_flight = 0;  // read here and not yet known to the sender as arrived
  std::deque<Chunk> queue;
  std::deque<Ack> acks;
};

struct Connection {
  int client = -1, server = -1;
  size_t target = 0;
  Clock::time_point dial;
  bool broken = false;
  Stream up, down;
};

class Relay {
 public:
  Relay();
  // Listens on 127.0.0.1:port and dials address:target_port for each connection. False: errno says why.
  bool add(uint16_t port, const std::string& address, uint16_t target_port);
  // From now on; what is under way keeps its time.
  void set(Shape shape) { shape_ = shape; }
  Counts counts() const { return counts_; }
  // Serves until stdin has a line (true, with it) or ends (false).
  bool run(std::string* line);

 private:
  struct Target {
    int listener;
    std::string address;
    uint16_t port;
    Wire up, down;
  };
  void accept_all(size_t target);
  void dial(Connection& connection);
  bool pump(Connection& connection, Clock::time_point now);
  bool receive(Stream& stream, Wire& wire, uint64_t& count, Connection& owner, Clock::time_point now);
  void deliver(Stream& stream, Connection& owner, Clock::time_point now);
  Clock::time_point next_time(Clock::time_point now) const;
  void wait(Clock::time_point until);
  void close_ended();

  int epoll_;
  Shape shape_;
  Counts counts_;
  std::vector<Target> targets_;
  std::list<Connection> connections_;
  bool input_ = false;
  std::string pending_;
  std::vector<char> scratch_;
};

}  // namespace flurry::bench
