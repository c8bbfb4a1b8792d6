#include "cli/ssh/ssh_session.h"

#include <malloc.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/sys/clock.h"

namespace flurry::ssh {
namespace {

// Read from the socket at once, and kept at most.
constexpr size_t kInputMax = 256 << 10;
// Channels stop writing while this much waits for the socket; then the caller's writes wait too.
constexpr size_t kOutputHigh = 256 << 10;
// More than that are answers that a server asks for and doesn't take.
constexpr size_t kOutputMax = 4 << 20;
// A server that says nothing for so long, with a keepalive to answer, is gone.
constexpr Millis kSilenceMax{15000};

// A handshake and a login with many keys take some 30 KiB from an honest server.
constexpr size_t kFedBeforeLoginMax = 1 << 20;
// What libssh2 may hold. A channel's window of 2 MiB is much more memory where it comes in small packets.
constexpr size_t kHeldMax = 4 << 20;
constexpr size_t kHeldPerChannelMax = 16 << 20;
constexpr size_t kFirstLineMax = 80;

SshSession* self(void** abstract) { return static_cast<SshSession*>(*abstract); }

template <typename Callback>
void set_callback(LIBSSH2_SESSION* session, int type, Callback* callback) {
#if LIBSSH2_VERSION_NUM >= 0x010b01  // 1.11.1 deprecates the other one, and Debian 12 has no other one
  libssh2_session_callback_set2(session, type, reinterpret_cast<libssh2_cb_generic*>(callback));
#else
  libssh2_session_callback_set(session, type, reinterpret_cast<void*>(callback));
#endif
}

}  // namespace

SshSession::SshSession(sys::Fd socket, Millis keepalive_interval)
    : socket_(std::move(socket)),
      session_(libssh2_session_init_ex(&on_alloc, &on_free, &on_realloc, this)),
      keepalive_interval_(keepalive_interval),
      input_(std::make_unique_for_overwrite<char[]>(kInputMax)),
      heard_at_(sys::now()),
      asked_at_(heard_at_) {
  if (session_ == nullptr) return;
  libssh2_session_set_blocking(session_, 0);
  set_callback(session_, LIBSSH2_CALLBACK_RECV, &on_recv);
  set_callback(session_, LIBSSH2_CALLBACK_SEND, &on_send);
  // Its own interval is the least it takes; when to ask is decided in tick().
  libssh2_keepalive_config(session_, 1, 2);
}

SshSession::~SshSession() {
  if (session_ != nullptr && is_logged_in_) {
    libssh2_session_disconnect(session_, "done");
    flush_output();
  }
  fail({ErrorKind::kUnreachable, "the connection was closed"});
}

void SshSession::fail(const Error& error) {
  if (session_ == nullptr) return;
  end_ = error;
  if (operation_ == Operation::kGreeting) greeting_done_.set_value(error);
  if (operation_ == Operation::kHandshake) handshake_done_.set_value(error);
  if (operation_ == Operation::kLogin) login_done_.set_value(error);
  operation_ = Operation::kNone;
  for (auto& [id, channel] : channels_) channel->fail(error);
  channels_.clear();
  is_closing_ = true;
  // With callbacks that only say "closed" this ends at once; the bound is against surprises.
  for (int i = 0; i < 100 && libssh2_session_free(session_) == LIBSSH2_ERROR_EAGAIN; ++i) {
  }
  session_ = nullptr;
  socket_.reset();
}

// Not refused at the bound itself: little code is tried for that. Nothing more is fed from there on.
bool SshSession::may_hold(size_t more) {
  const size_t bound = kHeldMax + channels_.size() * kHeldPerChannelMax;
  is_flooded_ |= held_ + more > bound;
  return held_ + more <= 2 * bound;
}

void* SshSession::on_alloc(size_t size, void** abstract) {
  SshSession& s = *self(abstract);
  void* memory = s.may_hold(size) ? std::malloc(size) : nullptr;
  if (memory != nullptr) s.held_ += ::malloc_usable_size(memory);
  return memory;
}

void* SshSession::on_realloc(void* memory, size_t size, void** abstract) {
  SshSession& s = *self(abstract);
  const size_t before = memory != nullptr ? ::malloc_usable_size(memory) : 0;
  void* moved = s.may_hold(size) ? std::realloc(memory, size) : nullptr;
  if (moved != nullptr) s.held_ += ::malloc_usable_size(moved) - before;
  return moved;
}

void SshSession::on_free(void* memory, void** abstract) {
  if (memory == nullptr) return;
  self(abstract)->held_ -= ::malloc_usable_size(memory);
  std::free(memory);
}

ssize_t SshSession::on_recv(libssh2_socket_t, void* buffer, size_t length, int, void** abstract) {
  SshSession& s = *self(abstract);
  if (s.is_closing_ || s.is_flooded_) return 0;
  const size_t n = std::min(length, s.input_end_ - s.input_begin_);
  if (n == 0) return -EAGAIN;
  std::memcpy(buffer, s.input_.get() + s.input_begin_, n);
  s.input_begin_ += n;
  s.fed_ += n;
  s.is_flooded_ |= !s.is_logged_in_ && s.fed_ > kFedBeforeLoginMax;
  s.moved_ = true;
  return static_cast<ssize_t>(n);
}

ssize_t SshSession::on_send(libssh2_socket_t, const void* buffer, size_t length, int, void** abstract) {
  SshSession& s = *self(abstract);
  s.is_flooded_ |= s.output_.size() - s.output_begin_ > kOutputMax;
  if (s.is_closing_ || s.is_flooded_) return -EPIPE;
  s.output_.append(static_cast<const char*>(buffer), length);
  s.asked_at_ = sys::now();
  s.moved_ = true;
  return static_cast<ssize_t>(length);
}

int SshSession::on_sign(LIBSSH2_SESSION* session, unsigned char** signature, size_t* signature_size,
                        const unsigned char* data, size_t data_size, void** /*unused*/) {
  SshSession& s = *static_cast<SshSession*>(*libssh2_session_abstract(session));
  if (s.signature_.empty()) {
    // The dialling thread asks the agent; libssh2 asks again when the answer is here.
    s.to_sign_.assign(reinterpret_cast<const char*>(data), data_size);
    return LIBSSH2_ERROR_EAGAIN;
  }
  void* abstract = &s;
  *signature = static_cast<unsigned char*>(on_alloc(s.signature_.size(), &abstract));
  if (*signature == nullptr) return -1;
  std::memcpy(*signature, s.signature_.data(), s.signature_.size());
  *signature_size = s.signature_.size();
  return 0;
}

void SshSession::fill_input(TimePoint now) {
  if (!can_read_ || socket_error_) return;
  if (input_begin_ == input_end_) input_begin_ = input_end_ = 0;
  if (input_end_ == kInputMax) return;
  const ssize_t n = ::recv(socket_.get(), input_.get() + input_end_, kInputMax - input_end_, MSG_DONTWAIT);
  if (n > 0) {
    if (!has_first_line_) keep_first_line({input_.get() + input_end_, static_cast<size_t>(n)});
    input_end_ += static_cast<size_t>(n);
    heard_at_ = now;
    moved_ = true;
  } else if (n == 0) {
    socket_error_ = Error{ErrorKind::kUnreachable, "the server closed the connection"};
  } else if (errno == EAGAIN) {
    can_read_ = false;
  } else if (errno != EINTR) {
    socket_error_ = Error{ErrorKind::kUnreachable, sys::errno_error("read", errno).message};
  }
}

void SshSession::flush_output() {
  while (can_write_ && !socket_error_ && output_begin_ < output_.size()) {
    const ssize_t n = ::send(socket_.get(), output_.data() + output_begin_, output_.size() - output_begin_,
                             MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n > 0) {
      output_begin_ += static_cast<size_t>(n);
      moved_ = true;
    } else if (errno == EAGAIN) {
      can_write_ = false;
    } else if (errno != EINTR) {
      socket_error_ = Error{ErrorKind::kUnreachable, sys::errno_error("write", errno).message};
    }
  }
  if (output_begin_ == output_.size()) {
    output_.clear();
    output_begin_ = 0;
  }
}

void SshSession::keep_first_line(std::string_view bytes) {
  for (const char c : bytes) {
    has_first_line_ = c == '\n' || first_line_.size() >= kFirstLineMax;
    if (has_first_line_) return;
    if (c >= ' ' && c <= '~') first_line_ += c;
  }
}

Error SshSession::explained(const Error& error) const {
  if (is_flooded_)
    return {ErrorKind::kRefused, "the server sends more than SSH needs (" + std::to_string(fed_ >> 10) +
                                     " KiB taken, " + std::to_string(held_ >> 10) +
                                     " KiB held of it), so the connection was given up"};
  if (is_logged_in_ || first_line_.starts_with("SSH-") || error.kind != ErrorKind::kUnreachable) return error;
  if (first_line_.empty()) return {error.kind, "the port accepts, but no SSH banner came: " + error.message};
  return {error.kind, "the port answers \"" + first_line_ + "\" instead of an SSH banner"};
}

Error SshSession::last_error(const std::string& what) const {
  char* text = nullptr;
  libssh2_session_last_error(session_, &text, nullptr, 0);
  return {ErrorKind::kUnreachable, what + ": " + (text != nullptr ? text : "unknown error")};
}

void SshSession::start_greeting(const Algorithms& algorithms, std::promise<Result<void>> done) {
  if (session_ == nullptr) {
    done.set_value(Error{ErrorKind::kFailed, "libssh2: out of memory"});
    return;
  }
  greeting_done_ = std::move(done);
  operation_ = Operation::kGreeting;
  const auto prefer = [this](int what, const std::string& list) {
    return libssh2_session_method_pref(session_, what, list.c_str()) == 0;
  };
  const bool is_set = prefer(LIBSSH2_METHOD_HOSTKEY, algorithms.host_keys) &&
                      prefer(LIBSSH2_METHOD_KEX, algorithms.key_exchanges) &&
                      prefer(LIBSSH2_METHOD_CRYPT_CS, algorithms.ciphers) &&
                      prefer(LIBSSH2_METHOD_CRYPT_SC, algorithms.ciphers) &&
                      prefer(LIBSSH2_METHOD_MAC_CS, algorithms.macs) &&
                      prefer(LIBSSH2_METHOD_MAC_SC, algorithms.macs);
  // Without its preferences libssh2 would offer all that it has, and trust more than the user does.
  if (!is_set) fail({ErrorKind::kUnsupported, "libssh2 has none of the algorithms that are allowed"});
}

void SshSession::start_handshake(std::promise<Result<std::string>> done) {
  if (session_ == nullptr) {
    done.set_value(end_);
    return;
  }
  handshake_done_ = std::move(done);
  operation_ = Operation::kHandshake;
}

void SshSession::start_login(LoginRequest request, std::promise<Result<LoginReply>> done) {
  if (session_ == nullptr) {
    done.set_value(end_);
    return;
  }
  if (request.step == LoginRequest::Step::kSignature) {
    signature_ = std::move(request.text);
  } else {
    login_ = std::move(request);
    signature_.clear();
  }
  to_sign_.clear();
  login_done_ = std::move(done);
  operation_ = Operation::kLogin;
}

// Our banner goes out at once: some servers' multiplexers wait for the client to speak first.
void SshSession::step_greeting() {
  if (input_end_ == input_begin_) {
    const int rc = libssh2_session_handshake(session_, socket_.get());
    if (rc != 0 && rc != LIBSSH2_ERROR_EAGAIN) fail(explained(last_error("SSH greeting")));
    return;
  }
  operation_ = Operation::kNone;
  greeting_done_.set_value({});
}

void SshSession::step_operation() {
  if (operation_ == Operation::kGreeting) step_greeting();
  if (operation_ == Operation::kHandshake) step_handshake();
  if (operation_ == Operation::kLogin) step_login();
}

void SshSession::step_handshake() {
  const int rc = libssh2_session_handshake(session_, socket_.get());
  if (rc == LIBSSH2_ERROR_EAGAIN) return;
  if (rc != 0) {
    auto error = last_error("SSH handshake");
    if (rc == LIBSSH2_ERROR_KEX_FAILURE || rc == LIBSSH2_ERROR_METHOD_NONE)
      error.kind = ErrorKind::kUnsupported;
    return fail(explained(error));
  }
  size_t size = 0;
  int type = 0;
  const char* key = libssh2_session_hostkey(session_, &size, &type);
  operation_ = Operation::kNone;
  handshake_done_.set_value(std::string(key != nullptr ? key : "", key != nullptr ? size : 0));
}

int SshSession::try_key() {
  if (login_.step == LoginRequest::Step::kKeyFile)
    return libssh2_userauth_publickey_fromfile_ex(session_, login_.user.data(),
                                                  static_cast<unsigned int>(login_.user.size()), nullptr,
                                                  login_.text.c_str(), nullptr);
  void* unused = nullptr;
  return libssh2_userauth_publickey(session_, login_.user.c_str(),
                                    reinterpret_cast<const unsigned char*>(login_.text.data()),
                                    login_.text.size(), &on_sign, &unused);
}

void SshSession::step_login() {
  if (login_.step == LoginRequest::Step::kList) {
    const char* methods =
        libssh2_userauth_list(session_, login_.user.data(), static_cast<unsigned int>(login_.user.size()));
    if (methods != nullptr) return answer_login(LoginReply{LoginReply::Answer::kRefused, methods});
    if (libssh2_userauth_authenticated(session_) == 1)
      return answer_login(LoginReply{LoginReply::Answer::kAccepted, ""});
    if (libssh2_session_last_errno(session_) != LIBSSH2_ERROR_EAGAIN) fail(explained(last_error("login")));
    return;
  }
  const int rc = try_key();
  if (rc == LIBSSH2_ERROR_EAGAIN) {
    if (!to_sign_.empty())
      answer_login(LoginReply{LoginReply::Answer::kSignThis, std::exchange(to_sign_, "")});
    return;
  }
  if (rc == 0) return answer_login(LoginReply{LoginReply::Answer::kAccepted, ""});
  const auto error = last_error("login");
  if (is_flooded_ || rc == LIBSSH2_ERROR_SOCKET_DISCONNECT || rc == LIBSSH2_ERROR_SOCKET_SEND)
    return fail(explained(error));
  answer_login(LoginReply{LoginReply::Answer::kRefused, error.message});
}

void SshSession::answer_login(Result<LoginReply> reply) {
  if (reply->answer == LoginReply::Answer::kAccepted) is_logged_in_ = true;
  operation_ = Operation::kNone;
  login_done_.set_value(std::move(reply));
}

void SshSession::open_channel(ChannelId id, SshChannel::Start start) {
  auto channel = std::make_unique<SshChannel>(std::move(start));
  if (session_ == nullptr)
    channel->fail(end_);
  else
    channels_.emplace(id, std::move(channel));
}

void SshSession::close_channel(ChannelId id) {
  const auto found = channels_.find(id);
  if (found != channels_.end()) found->second->cancel();
}

void SshSession::on_socket_ready(uint32_t events) {
  if ((events & ~uint32_t{EPOLLOUT}) != 0) can_read_ = true;
  if ((events & ~uint32_t{EPOLLIN}) == 0) return;
  // A slow link that goes on taking bytes is alive, though a keepalive waits behind them.
  if (!can_write_ && (events & EPOLLOUT) != 0) heard_at_ = sys::now();
  can_write_ = true;
}

void SshSession::on_channel_ready(ChannelId id, uint32_t events) {
  const auto found = channels_.find(id);
  if (found != channels_.end()) found->second->on_ready(events);
}

void SshSession::step_channels() {
  Pace pace;
  // The channel that has begun to open must end that before another may begin; the oldest comes first.
  pace.may_open = true;
  for (auto it = channels_.begin(); it != channels_.end();) {
    if (output_.size() - output_begin_ >= kOutputHigh) flush_output();
    pace.may_send = output_.size() - output_begin_ < kOutputHigh;
    const auto stepped = it->second->step(session_, pace);
    if (!stepped) return fail(explained(stepped.error()));
    it = it->second->is_done() ? channels_.erase(it) : std::next(it);
  }
  moved_ |= pace.moved;
  if (is_flooded_) fail(explained(end_));
}

bool SshSession::service(TimePoint now) {
  if (session_ == nullptr) return false;
  moved_ = false;
  fill_input(now);
  step_operation();
  if (session_ != nullptr) step_channels();
  if (session_ == nullptr) return false;
  flush_output();
  // What arrived before the end has been taken by now, as far as anybody wants it.
  if (socket_error_ && !moved_) fail(explained(*socket_error_));
  return moved_;
}

void SshSession::tick(TimePoint now) {
  if (session_ == nullptr || !is_logged_in_) return;
  const auto silence = now - heard_at_;
  if (silence >= kSilenceMax && asked_at_ > heard_at_)
    return fail({ErrorKind::kUnreachable, "no answer for " + std::to_string(kSilenceMax.count() / 1000) +
                                              " s, the connection is dead"});
  if (silence >= keepalive_interval_ && now - asked_at_ >= keepalive_interval_) {
    int next = 0;
    libssh2_keepalive_send(session_, &next);
    flush_output();
  }
}

}  // namespace flurry::ssh
