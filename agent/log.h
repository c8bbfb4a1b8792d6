#pragma once

#include <string_view>

namespace flurry::agent {

// One line on stderr, which is systemd's journal. Any thread.
void log_info(std::string_view text);
void log_warning(std::string_view text);

}  // namespace flurry::agent
