#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

namespace flurry::agent {

class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/flurry-agent-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~TempDir() {
    std::error_code error;
    std::filesystem::remove_all(path_, error);
  }
  const std::string& str() const { return path_; }

 private:
  std::string path_;
};

}  // namespace flurry::agent
