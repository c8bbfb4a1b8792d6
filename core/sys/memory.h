#pragma once

#include <sys/types.h>

#include <cstddef>

namespace flurry::sys {

// Bytes that programs can still take: what the kernel calls available, and what our control group leaves.
// A big number when the kernel doesn't tell. Any thread.
size_t available_memory();

// Resident bytes of a process of ours and of everything that it has started; 0 once it is gone. Pages that
// two of them share count twice. Any thread.
size_t process_tree_memory(pid_t pid);

}  // namespace flurry::sys
