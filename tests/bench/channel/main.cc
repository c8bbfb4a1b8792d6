// bench-channel HOST FILE: pushes a file into `cat > /dev/null` on the host through one channel of flurry's
// SSH, and prints the seconds from the first byte to the command's end. No copy by one channel can be faster.
#include <fcntl.h>
#include <sys/socket.h>

#include <csignal>
#include <cstdio>
#include <vector>

#include "cli/ssh/libssh_transport.h"
#include "core/sys/clock.h"
#include "core/sys/fd.h"

namespace flurry {
namespace {

constexpr Millis kPatience{900'000};

Result<void> push(const char* host, const char* path) {
  auto name = HostName::parse(host);
  if (!name) return name.error();
  const TimePoint deadline = sys::now() + kPatience;
  ssh::LibsshTransport transport{{}};
  auto connection = transport.dial({*name, {host}, {}, {}, {}, {}}, deadline);
  if (!connection) return connection.error();
  auto process = (*connection)->exec("cat > /dev/null", deadline);
  if (!process) return process.error();
  const sys::Fd file(open(path, O_RDONLY | O_CLOEXEC));
  std::vector<char> buffer(256 * 1024);
  const TimePoint start = sys::now();
  for (;;) {
    auto got = sys::read_some(file.get(), buffer, deadline);
    if (!got) return got.error();
    if (*got == 0) break;
    auto put = sys::write_all((*process)->io().get(), {buffer.data(), *got}, deadline);
    if (!put) return put.error();
  }
  shutdown((*process)->io().get(), SHUT_WR);
  auto exit = (*process)->wait(deadline);
  if (!exit) return exit.error();
  std::printf("%.3f\n", static_cast<double>((sys::now() - start).count()) / 1000);
  return {};
}

}  // namespace
}  // namespace flurry

int main(int argc, char** argv) {
  std::signal(SIGPIPE, SIG_IGN);
  if (argc != 3) {
    std::fputs("usage: bench-channel HOST FILE\n", stderr);
    return 1;
  }
  auto done = flurry::push(argv[1], argv[2]);
  if (!done) std::fprintf(stderr, "bench-channel: %s\n", done.error().message.c_str());
  return done ? 0 : 1;
}
