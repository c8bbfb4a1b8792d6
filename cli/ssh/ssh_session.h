#pragma once

#include <libssh2.h>

#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "cli/ssh/algorithms.h"
#include "cli/ssh/ssh_channel.h"

namespace flurry::ssh {

using SessionId = uint32_t;

struct LoginRequest {
  enum class Step { kList, kAgentKey, kSignature, kKeyFile };
  Step step = Step::kList;
  std::string user;
  std::string text;  // the key blob, the signature or the file's path
};

struct LoginReply {
  enum class Answer { kAccepted, kRefused, kSignThis };
  Answer answer = Answer::kRefused;
  std::string text;  // kList: the methods the server takes; kSignThis: what the agent has to sign
};

// One SSH session over one TCP socket, and its channels. Belongs to the loop thread.
//
// libssh2 never touches the socket: it is given callbacks that read from and write to buffers of ours.
// So a send never says EAGAIN in the middle of a packet, and libssh2's rule that the same call must
// then come again before any other holds by itself. EAGAIN only ever means "nothing arrived yet".
//
// libssh2 keeps every packet that nobody asked for, without a bound, before any key is checked too. So what
// it is fed until the login is over is bounded here, and what it holds always; beyond that the session fails.
class SshSession {
 public:
  SshSession(sys::Fd socket, Millis keepalive_interval);
  ~SshSession();
  SshSession(const SshSession&) = delete;

  // Done with the first byte that the server sends. The handshake then waits for start_handshake().
  void start_greeting(const Algorithms& algorithms, std::promise<Result<void>> done);
  void start_handshake(std::promise<Result<std::string>> done);
  void start_login(LoginRequest request, std::promise<Result<LoginReply>> done);
  void open_channel(ChannelId id, SshChannel::Start start);
  void close_channel(ChannelId id);

  void on_socket_ready(uint32_t events);
  void on_channel_ready(ChannelId id, uint32_t events);

  // Moves what can be moved; true when another turn may move more without waiting.
  bool service(TimePoint now);

  // Sends a keepalive after silence, and ends the session when even that isn't answered.
  void tick(TimePoint now);

  // Ends everything with `error`; the session stays as the reason for later requests.
  void fail(const Error& error);

  bool is_dead() const { return session_ == nullptr; }

 private:
  enum class Operation { kNone, kGreeting, kHandshake, kLogin };

  // libssh2's memory, counted.
  static void* on_alloc(size_t size, void** abstract);
  static void* on_realloc(void* memory, size_t size, void** abstract);
  static void on_free(void* memory, void** abstract);
  static ssize_t on_recv(libssh2_socket_t, void* buffer, size_t length, int flags, void** abstract);
  static ssize_t on_send(libssh2_socket_t, const void* buffer, size_t length, int flags, void** abstract);
  static int on_sign(LIBSSH2_SESSION*, unsigned char** signature, size_t* signature_size,
                     const unsigned char* data, size_t data_size, void** abstract);

  void fill_input(TimePoint now);
  void flush_output();
  void step_operation();
  void step_greeting();
  void step_handshake();
  void step_login();
  void answer_login(Result<LoginReply> reply);
  int try_key();
  void step_channels();
  bool may_hold(size_t more);
  void keep_first_line(std::string_view bytes);
  Error last_error(const std::string& what) const;
  // What is to be said of a session that broke: more than libssh2 knows, where we do.
  Error explained(const Error& error) const;

  // Before session_: libssh2 asks for memory while it is made.
  size_t held_ = 0;          // bytes that libssh2 has of us
  size_t fed_ = 0;           // bytes that libssh2 took from the server
  bool is_flooded_ = false;  // one of them went beyond its bound
  std::string first_line_;   // of what the server sent, for people
  bool has_first_line_ = false;

  sys::Fd socket_;
  LIBSSH2_SESSION* session_;
  const Millis keepalive_interval_;
  Error end_{ErrorKind::kUnreachable, "the connection is closed"};

  std::unique_ptr<char[]> input_;  // received, from begin to end not yet taken by libssh2
  size_t input_begin_ = 0, input_end_ = 0;
  std::string output_;  // written by libssh2, not yet sent from output_begin_ on
  size_t output_begin_ = 0;
  bool can_read_ = true, can_write_ = true;
  bool is_closing_ = false;  // callbacks answer with the end, so that libssh2 waits for nothing
  std::optional<Error> socket_error_;
  bool moved_ = false;

  TimePoint heard_at_, asked_at_;
  bool is_logged_in_ = false;

  Operation operation_ = Operation::kNone;
  std::promise<Result<void>> greeting_done_;
  std::promise<Result<std::string>> handshake_done_;
  std::promise<Result<LoginReply>> login_done_;
  LoginRequest login_;
  std::string signature_, to_sign_;

  std::map<ChannelId, std::unique_ptr<SshChannel>> channels_;
};

}  // namespace flurry::ssh
