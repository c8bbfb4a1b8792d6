#pragma once

#include <cstddef>

namespace flurry::sys {

// What this process may use. Call it before there is any thread; what can't be had is done without.

// As many open files as the hard limit allows, at most `wanted`; never fewer than before. Children inherit
// it.
void raise_open_files(size_t wanted);

// No memory of this process is ever written to disk or shown to another process of the same user, whatever
// crashes: it may hold secrets. Children that run another program may only write no core file, unless they
// allow it to themselves.
void keep_memory_private();

}  // namespace flurry::sys
