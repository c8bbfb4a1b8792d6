#pragma once

#include <cstdint>
#include <string>

#include "core/result.h"
#include "core/sys/fd.h"
#include "core/time.h"

namespace flurry::ssh {

// A non-blocking TCP connection to the first address of `host` that answers. Resolves in the calling
// thread (getaddrinfo knows no deadline). kUnreachable names every address tried; kTimedOut.
Result<sys::Fd> connect_tcp(const std::string& host, uint16_t port, int address_family, TimePoint deadline);

}  // namespace flurry::ssh
