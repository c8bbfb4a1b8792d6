// bench-relay PORT=ADDRESS:PORT…   Commands on stdin, an answer each on stdout; ends with its stdin.
//   set RTT_MICROSECONDS BITS_PER_SECOND WINDOW_BYTES    -> ok     (0 bits: unlimited)
//   count                                                -> BYTES_TO_TARGETS BYTES_FROM_TARGETS CONNECTIONS
#include <cstdio>
#include <iostream>
#include <sstream>

#include "tests/bench/relay/relay.h"

int main(int argc, char** argv) {
  flurry::bench::Relay relay;
  for (int i = 1; i < argc; ++i) {
    unsigned port = 0, target = 0;
    char address[64];
    if (std::sscanf(argv[i], "%u=%63[0-9.]:%u", &port, address, &target) != 3 || port > 65535 ||
        target > 65535) {
      std::cerr << "bench-relay: " << argv[i] << ": want PORT=ADDRESS:PORT\n";
      return 1;
    }
    if (!relay.add(static_cast<uint16_t>(port), address, static_cast<uint16_t>(target))) {
      std::perror(argv[i]);
      return 1;
    }
  }
  std::string line;
  while (relay.run(&line)) {
    std::istringstream words(line);
    std::string verb;
    words >> verb;
    uint64_t rtt = 0, rate = 0, window = 0;
    if (verb == "set" && words >> rtt >> rate >> window && window > 0 && rtt <= 10'000'000) {
      relay.set({std::chrono::microseconds(rtt), rate, window});
      std::cout << "ok" << std::endl;
    } else if (verb == "count") {
      auto counts = relay.counts();
      std::cout << counts.up << ' ' << counts.down << ' ' << counts.connections << std::endl;
    } else {
      std::cout << "error: " << line << std::endl;
    }
  }
}
