#pragma once

#include <netdb.h>

#include <cstdint>
#include <memory>
#include <string>

#include "core/result.h"
#include "core/sys/fd.h"
#include "core/time.h"

namespace flurry::ssh {

struct FreeAddresses {
  void operator()(addrinfo* list) const { ::freeaddrinfo(list); }
};
using Addresses = std::unique_ptr<addrinfo, FreeAddresses>;
using Lookup = int (*)(const char*, const char*, const addrinfo*, addrinfo**);

// The addresses of a name; kUnreachable, or kTimedOut however long the lookup hangs.
Result<Addresses> resolve(const std::string& host, uint16_t port, int address_family, TimePoint deadline,
                          Lookup lookup = ::getaddrinfo);

// A non-blocking TCP connection to the first address of `host` that answers. kUnreachable names every
// address tried; kTimedOut.
Result<sys::Fd> connect_tcp(const std::string& host, uint16_t port, int address_family, TimePoint deadline);

}  // namespace flurry::ssh
