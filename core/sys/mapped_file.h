#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/result.h"

namespace flurry::sys {

// A regular file's bytes, read as they are touched. Only for files that nobody shortens, as in /nix/store: to
// touch what is gone ends the process.
class MappedFile {
 public:
  // Follows no symlink.
  static Result<MappedFile> open(const std::string& path);
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  std::string_view bytes() const { return {static_cast<const char*>(start_), size_}; }

 private:
  MappedFile(void* start, size_t size) : start_(start), size_(size) {}

  void* start_ = nullptr;  // none for an empty file
  size_t size_ = 0;
};

}  // namespace flurry::sys
