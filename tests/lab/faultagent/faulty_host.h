#pragma once

#include "agent/host.h"

namespace flurry::agent {

// This machine, with the points of the fault matrix around each effect and each journal write. The
// deadman has points of its own, named "deadman-…", so that a test says which of the two it means.
Host make_faulty_host(const Paths& paths, const std::string& program, bool is_deadman);

}  // namespace flurry::agent
