#include "cli/ssh/agent_client.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "cli/ssh/encoding.h"

namespace flurry::ssh {
namespace {

// Message numbers of the agent protocol.
constexpr char kRequestIdentities = 11;
constexpr char kIdentitiesAnswer = 12;
constexpr char kSignRequest = 13;
constexpr char kSignResponse = 14;

constexpr size_t kAnswerMax = 256 << 10;  // OpenSSH's own limit
constexpr uint32_t kKeysMax = 2048;

Error strange() { return {ErrorKind::kFailed, "ssh agent: can't understand its answer"}; }

}  // namespace

Result<AgentClient> AgentClient::connect(const std::string& socket_path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof address.sun_path)
    return Error{ErrorKind::kFailed, "ssh agent: the path of its socket is too long"};
  std::memcpy(address.sun_path, socket_path.c_str(), socket_path.size());
  // Non-blocking: an agent that accepts nobody makes connect() fail with EAGAIN, not wait.
  sys::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd.is_open()) return sys::errno_error("ssh agent: socket", errno);
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return sys::errno_error("ssh agent: " + socket_path, errno);
  return AgentClient(std::move(fd));
}

Result<std::string> AgentClient::read_exactly(size_t size, TimePoint deadline) {
  std::string out(size, '\0');
  for (size_t done = 0; done < size;) {
    auto n = sys::read_some(fd_.get(), std::span(out).subspan(done), deadline);
    if (!n) return n.error().with_context("ssh agent");
    if (*n == 0) return Error{ErrorKind::kFailed, "ssh agent: closed the connection"};
    done += *n;
  }
  return out;
}

Result<std::string> AgentClient::ask(const std::string& request, char expected_type, TimePoint deadline) {
  std::string framed;
  put_string(framed, request);
  const auto sent = sys::write_all(fd_.get(), framed, deadline);
  if (!sent) return sent.error().with_context("ssh agent");
  ASSIGN_OR_RETURN(const auto head, read_exactly(4, deadline));
  std::string_view in = head;
  const auto size = take_u32(in);
  if (!size || *size == 0 || *size > kAnswerMax) return strange();
  ASSIGN_OR_RETURN(auto answer, read_exactly(*size, deadline));
  if (answer.front() != expected_type) return Error{ErrorKind::kRefused, "ssh agent: refused the request"};
  answer.erase(0, 1);
  return answer;
}

Result<std::vector<AgentKey>> AgentClient::keys(TimePoint deadline) {
  ASSIGN_OR_RETURN(const auto answer, ask(std::string(1, kRequestIdentities), kIdentitiesAnswer, deadline));
  std::string_view in = answer;
  const auto count = take_u32(in);
  if (!count || *count > kKeysMax) return strange();
  std::vector<AgentKey> keys;
  for (uint32_t i = 0; i < *count; ++i) {
    const auto blob = take_string(in);
    const auto comment = take_string(in);
    if (!blob || !comment) return strange();
    keys.push_back({std::string(*blob), std::string(*comment)});
  }
  return keys;
}

Result<std::string> AgentClient::sign(const std::string& key_blob, const std::string& data,
                                      TimePoint deadline) {
  std::string request(1, kSignRequest);
  put_string(request, key_blob);
  put_string(request, data);
  put_u32(request, 0);
  ASSIGN_OR_RETURN(const auto answer, ask(request, kSignResponse, deadline));
  std::string_view in = answer;
  const auto signature = take_string(in);
  if (!signature) return strange();
  in = *signature;
  const auto algorithm = take_string(in);
  const auto bytes = take_string(in);
  if (!algorithm || !bytes) return strange();
  return std::string(*bytes);
}

}  // namespace flurry::ssh
