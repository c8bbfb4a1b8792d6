#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <thread>

#include "core/nix/wire.h"
#include "core/sys/clock.h"
#include "core/sys/fd.h"

namespace flurry::nix {

inline TimePoint soon() { return sys::now() + Millis(5000); }

inline std::string words(std::initializer_list<uint64_t> values) {
  std::string out;
  for (const uint64_t v : values) put_u64(out, v);
  return out;
}

inline std::string wire_str(std::string_view text) {
  std::string out;
  put_str(out, text);
  return out;
}

// The other end of a daemon connection: a thread that plays `script` on it.
class FakeDaemon {
 public:
  class Peer {
   public:
    explicit Peer(int fd) : fd_(fd) {}
    void expect(const std::string& wanted) {
      std::string got(wanted.size(), '\0');
      for (size_t have = 0; have < got.size();) {
        const auto n = sys::read_some(fd_, std::span(got).subspan(have), soon());
        if (!n || *n == 0) {
          ADD_FAILURE() << "the client sent only " << have << " of " << wanted.size() << " bytes";
          return;
        }
        have += *n;
      }
      EXPECT_EQ(got, wanted);
    }
    // What the client wrote in one go.
    std::string read_some() {
      std::string got(64 << 10, '\0');
      const auto n = sys::read_some(fd_, got, soon());
      got.resize(n ? *n : 0);
      return got;
    }
    void say(const std::string& bytes) { static_cast<void>(sys::write_all(fd_, bytes, soon())); }
    void greet(unsigned minor) {
      expect(words({0x6e697863, 0x126}));
      say(words({0x6478696f, 0x100 + minor}));
      if (minor >= 38) {
        expect(words({0}));
        say(words({1}) + wire_str("some-feature"));
      }
      expect(words({0, 0}));
      if (minor >= 33) say(wire_str("2.99"));
      if (minor >= 35) say(words({1}));
      say(words({0x616c7473}));
    }

   private:
    int fd_;
  };

  explicit FakeDaemon(std::function<void(Peer&)> script) {
    auto ends = sys::socket_pair();
    client_ = std::move(ends->first);
    thread_ = std::thread([script, fd = std::move(ends->second)]() mutable {
      Peer peer(fd.get());
      script(peer);
    });
  }
  ~FakeDaemon() { thread_.join(); }
  sys::Fd take_client() { return std::move(client_); }

 private:
  sys::Fd client_;
  std::thread thread_;
};

}  // namespace flurry::nix
