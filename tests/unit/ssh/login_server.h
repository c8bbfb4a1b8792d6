#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace flurry::ssh {

// The server's side of SSH on a socket, as far as a hostile one needs it: it agrees on keys and lets
// everybody in, and then sends what it is told to. Its host key is new each time. One thread.
class LoginServer {
 public:
  explicit LoginServer(int fd);
  ~LoginServer();
  LoginServer(const LoginServer&) = delete;

  // Greeting, key exchange and login; false where the client went away or did something else.
  bool let_in();
  // One packet, encrypted once keys are agreed on; false when the client has closed the connection.
  bool send(std::string_view payload);
  std::optional<std::string> receive();

 private:
  struct Keys;

  bool greet();
  bool exchange_keys();

  const int fd_;
  std::string client_banner_;
  std::unique_ptr<Keys> keys_;  // none before they are agreed on
  uint32_t sent_ = 0;
  uint32_t received_ = 0;
};

}  // namespace flurry::ssh
