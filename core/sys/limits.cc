#include "core/sys/limits.h"

#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>

namespace flurry::sys {

void raise_open_files(size_t wanted) {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  const rlim_t most = std::min<rlim_t>(limit.rlim_max, wanted);
  if (most <= limit.rlim_cur) return;
  limit.rlim_cur = most;
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

void keep_memory_private() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_CORE, &limit) == 0) {
    limit.rlim_cur = 0;
    ::setrlimit(RLIMIT_CORE, &limit);
  }
#ifndef __SANITIZE_ADDRESS__
  // A handler of core files (systemd-coredump) is started whatever the limit says. The search for leaks at
  // the end of a sanitized program needs what this forbids.
  ::prctl(PR_SET_DUMPABLE, 0);
#endif
}

}  // namespace flurry::sys
