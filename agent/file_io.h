#pragma once

#include <string>
#include <string_view>

#include "core/result.h"
#include "core/sys/fd.h"

namespace flurry::agent {

// Whole small files. No function follows a symbolic link in the last component. Any thread.

// At most `limit` bytes; more is an error.
Result<std::string> read_file(const std::string& path, size_t limit);

// Temp file, fsync, rename, fsync of the directory: afterwards the file is there whole, or as before.
Result<void> write_file_durably(const std::string& path, std::string_view bytes);

// Replaces whatever link is there in one step; the directory must exist.
Result<void> replace_link(const std::string& path, const std::string& target);

// Creates the directory and its parents; the last one gets mode 0700 and must belong to us.
Result<void> make_private_dir(const std::string& path);

Result<void> sync_dir(const std::string& path);

// sha256 in hex.
std::string sha256_hex(std::string_view bytes);
Result<std::string> file_sha256_hex(const std::string& path);

// The running program's own file; an error when it was deleted meanwhile.
Result<std::string> own_executable();

}  // namespace flurry::agent
