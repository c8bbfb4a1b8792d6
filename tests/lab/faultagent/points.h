#pragma once

#include <string>

#include "core/activation_record.h"

namespace flurry::agent {

// What the fault matrix (tests/lab/test_matrix.py) and this agent tell each other, by files:
//   /run/flurry-fault/armed/POINT  made by the test: stop here
//   /run/flurry-fault/held/POINT   the same file, moved by whoever stops: it goes on when the file is gone
//   /var/log/flurry-fault.log      a JSON object a line, kept over reboots

// Stops there if the test wants it, once; two minutes at most.
void stop_at(const std::string& point);

// A journal write that has ended.
void log_write(const ActivationRecord& record, bool is_written);

}  // namespace flurry::agent
