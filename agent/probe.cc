#include "agent/probe.h"

#include <signal.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl.hpp>
#include <boost/beast/core.hpp>
#include <boost/beast/http.hpp>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <optional>

#include "agent/probe_arguments.h"
#include "core/result.h"

namespace flurry::agent {
namespace {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using asio::ip::tcp;
using boost::system::error_code;

constexpr size_t kBodyMax = 1 << 20;
constexpr const char* kCaBundle = "/etc/ssl/certs/ca-certificates.crt";

// Resolving and connecting can hang in places that know no deadline; a signal ends the whole process.
void die_at(long timeout_ms) {
  ::signal(SIGALRM, [](int) {
    constexpr char kMessage[] = "no answer before the timeout\n";
    [[maybe_unused]] const ssize_t n = ::write(STDOUT_FILENO, kMessage, sizeof kMessage - 1);
    ::_exit(1);
  });
  const itimerval timer{{0, 0}, {timeout_ms / 1000, timeout_ms % 1000 * 1000}};
  ::setitimer(ITIMER_REAL, &timer, nullptr);
}

// "localhost" and addresses need no resolver: a static program's may lack what the host's configuration asks
// for.
Result<tcp::socket> dial(asio::io_context& io, const std::string& host, const std::string& port) {
  error_code error;
  std::vector<tcp::endpoint> endpoints;
  const auto number = static_cast<unsigned short>(std::atoi(port.c_str()));
  if (const auto address = asio::ip::make_address(host, error); !error) {
    endpoints.emplace_back(address, number);
  } else if (host == "localhost") {
    endpoints.emplace_back(asio::ip::address_v4::loopback(), number);
    endpoints.emplace_back(asio::ip::address_v6::loopback(), number);
  } else {
    error = {};
    const auto found = tcp::resolver(io).resolve(host, port, tcp::resolver::numeric_service, error);
    if (error) return Error{ErrorKind::kFailed, "resolve " + host + ": " + error.message()};
    for (const auto& entry : found) endpoints.push_back(entry.endpoint());
  }
  tcp::socket socket(io);
  error = {};
  asio::connect(socket, endpoints, error);
  if (error)
    return Error{ErrorKind::kFailed, "connect to " + host + " port " + port + ": " + error.message()};
  return socket;
}

http::request<http::empty_body> request_for(const HttpCheck& check, const Url& url) {
  http::request<http::empty_body> request;
  request.method_string(check.method);
  request.target(url.target);
  request.version(11);
  const std::string host = url.host.find(':') == std::string::npos ? url.host : "[" + url.host + "]";
  const bool is_default = url.port == (url.is_tls ? "443" : "80");
  request.set(http::field::host, is_default ? host : host + ":" + url.port);
  request.set(http::field::user_agent, "flurry-agent/" FLURRY_VERSION);
  request.set(http::field::connection, "close");
  for (const auto& [name, value] : check.headers) request.set(name, value);
  return request;
}

// The answer's verdict; a body is read only where something is wanted of it.
template <typename Stream>
Result<std::string> converse(Stream& stream, const HttpCheck& check, const Url& url) {
  error_code error;
  http::write(stream, request_for(check, url), error);
  if (error) return Error{ErrorKind::kFailed, "send the request: " + error.message()};
  boost::beast::flat_buffer buffer;
  http::response_parser<http::string_body> parser;
  parser.body_limit(kBodyMax);
  parser.skip(check.method == "HEAD");
  http::read_header(stream, buffer, parser, error);
  if (error) return Error{ErrorKind::kFailed, "read the answer: " + error.message()};
  const unsigned status = parser.get().result_int();
  const std::string said = "HTTP " + std::to_string(status);
  const bool fits = check.status.empty()
                        ? status >= 200 && status <= 299
                        : std::find(check.status.begin(), check.status.end(), status) != check.status.end();
  if (!fits) return Error{ErrorKind::kFailed, said};
  if (check.body.empty()) return said;
  if (!parser.is_done()) http::read(stream, buffer, parser, error);
  // Many servers end TLS without saying so; what came of the body still counts.
  const bool is_cut = error == asio::ssl::error::stream_truncated || error == http::error::partial_message;
  if (error == http::error::body_limit)
    return Error{ErrorKind::kFailed, said + ", with a body of more than 1 MiB"};
  if (error && !is_cut) return Error{ErrorKind::kFailed, said + ", then: " + error.message()};
  if (parser.get().body().find(check.body) == std::string::npos)
    return Error{ErrorKind::kFailed, said + ", but its body does not hold the expected text"};
  return said;
}

Result<std::string> probe_http(const HttpCheck& check) {
  ASSIGN_OR_RETURN(const Url url, parse_url(check.url));
  asio::io_context io;
  ASSIGN_OR_RETURN(tcp::socket socket, dial(io, url.host, url.port));
  if (!url.is_tls) return converse(socket, check, url);
  error_code error;
  asio::ssl::context context(asio::ssl::context::tls_client);
  if (!check.insecure_tls) {
    context.load_verify_file(kCaBundle, error);
    if (error) return Error{ErrorKind::kFailed, std::string("read ") + kCaBundle + ": " + error.message()};
  }
  asio::ssl::stream<tcp::socket> stream(std::move(socket), context);
  stream.set_verify_mode(check.insecure_tls ? asio::ssl::verify_none : asio::ssl::verify_peer);
  if (!check.insecure_tls) stream.set_verify_callback(asio::ssl::host_name_verification(url.host));
  SSL_set_tlsext_host_name(stream.native_handle(), url.host.c_str());
  stream.handshake(asio::ssl::stream_base::client, error);
  if (error) return Error{ErrorKind::kFailed, "TLS with " + url.host + ": " + error.message()};
  return converse(stream, check, url);
}

Result<std::string> probe_tcp(const std::string& host, const std::string& port) {
  asio::io_context io;
  ASSIGN_OR_RETURN(const tcp::socket socket, dial(io, host, port));
  return std::string("accepted");
}

// The next string of the standard input, which ends with a zero byte.
bool read_string(std::string& out) { return static_cast<bool>(std::getline(std::cin, out, '\0')); }

bool read_secrets(HttpCheck& check) {
  if (!read_string(check.url) || !read_string(check.body)) return false;
  for (std::string name, value; read_string(name);) {
    if (!read_string(value)) return false;
    check.headers.emplace_back(name, value);
  }
  return true;
}

}  // namespace

std::string encode_probe_secrets(const HttpCheck& check) {
  std::string out = check.url + '\0' + check.body + '\0';
  for (const auto& [name, value] : check.headers) out += name + '\0' + value + '\0';
  return out;
}

int run_probe(const std::vector<std::string>& arguments) {
  auto parsed = parse_probe_arguments(arguments);
  const bool is_http = parsed && arguments[0] == "http" && parsed->rest.empty();
  const bool is_tcp = parsed && arguments[0] == "tcp" && parsed->rest.size() == 2;
  if (!is_http && !is_tcp) {
    std::puts("usage: flurry-agent probe http [options] | tcp [options] -- HOST PORT");
    return 2;
  }
  ::signal(SIGPIPE, SIG_IGN);
  die_at(parsed->timeout_ms);
  if (is_http && !read_secrets(parsed->http)) {
    std::puts("the standard input does not hold what to probe");
    return 2;
  }
  const auto result = is_http ? probe_http(parsed->http) : probe_tcp(parsed->rest[0], parsed->rest[1]);
  std::puts(result ? result->c_str() : result.error().message.c_str());
  return result ? 0 : 1;
}

}  // namespace flurry::agent
