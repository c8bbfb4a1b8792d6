#include "agent/file_io.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <climits>
#include <filesystem>
#include <memory>
#include <system_error>

namespace flurry::agent {
namespace {

using sys::errno_error;
using sys::Fd;

struct FreeDigest {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new()) { EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr); }
  void add(std::string_view bytes) { EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()); }
  std::string finish_hex() {
    std::array<unsigned char, 32> digest{};
    EVP_DigestFinal_ex(context_.get(), digest.data(), nullptr);
    std::string out;
    for (unsigned char byte : digest) {
      out += "0123456789abcdef"[byte >> 4];
      out += "0123456789abcdef"[byte & 15];
    }
    return out;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, FreeDigest> context_;
};

std::string parent_of(const std::string& path) { return std::filesystem::path(path).parent_path().string(); }

// Reads to the end in chunks, handing each to `take`, which says whether to go on.
template <typename Take>
Result<void> read_chunks(const std::string& path, int flags, Take take) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | flags));
  if (!fd.is_open()) return errno_error("open " + path, errno);
  std::array<char, 64 << 10> buffer;
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("read " + path, errno);
    if (n == 0 || !take(std::string_view(buffer.data(), static_cast<size_t>(n)))) return {};
  }
}

}  // namespace

Result<std::string> read_file(const std::string& path, size_t limit) {
  std::string out;
  RETURN_IF_ERROR(read_chunks(path, O_NOFOLLOW | O_NONBLOCK, [&](std::string_view bytes) {
    out += bytes;
    return out.size() <= limit;
  }));
  if (out.size() > limit) return Error{ErrorKind::kInvalidInput, path + " is larger than it can be"};
  return out;
}

Result<void> write_file_durably(const std::string& path, std::string_view bytes) {
  const std::string temp = path + ".tmp";
  ::unlink(temp.c_str());
  {
    const Fd fd(::open(temp.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd.is_open()) return errno_error("create " + temp, errno);
    while (!bytes.empty()) {
      const ssize_t n = ::write(fd.get(), bytes.data(), bytes.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return errno_error("write " + temp, errno);
      bytes.remove_prefix(static_cast<size_t>(n));
    }
    if (::fsync(fd.get()) != 0) return errno_error("fsync " + temp, errno);
  }
  if (::rename(temp.c_str(), path.c_str()) != 0) return errno_error("rename " + temp, errno);
  return sync_dir(parent_of(path));
}

Result<void> replace_link(const std::string& path, const std::string& target) {
  const std::string temp = path + ".tmp";
  ::unlink(temp.c_str());
  if (::symlink(target.c_str(), temp.c_str()) != 0) return errno_error("link " + temp, errno);
  if (::rename(temp.c_str(), path.c_str()) != 0) return errno_error("rename " + temp, errno);
  return sync_dir(parent_of(path));
}

Result<void> make_private_dir(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(parent_of(path), error);
  if (error) return errno_error("create " + parent_of(path), error.value());
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return errno_error("create " + path, errno);
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return errno_error("look at " + path, errno);
  if (!S_ISDIR(info.st_mode) || info.st_uid != ::geteuid())
    return Error{ErrorKind::kFailed, path + " is not a directory of our own"};
  if ((info.st_mode & 077) != 0 && ::chmod(path.c_str(), 0700) != 0)
    return errno_error("chmod " + path, errno);
  return {};
}

Result<void> sync_dir(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.is_open()) return errno_error("open " + path, errno);
  if (::fsync(fd.get()) != 0) return errno_error("fsync " + path, errno);
  return {};
}

std::string sha256_hex(std::string_view bytes) {
  Sha256 hash;
  hash.add(bytes);
  return hash.finish_hex();
}

Result<std::string> file_sha256_hex(const std::string& path) {
  Sha256 hash;
  RETURN_IF_ERROR(read_chunks(path, 0, [&](std::string_view bytes) {
    hash.add(bytes);
    return true;
  }));
  return hash.finish_hex();
}

Result<std::string> own_executable() {
  std::array<char, PATH_MAX> buffer;
  const ssize_t n = ::readlink("/proc/self/exe", buffer.data(), buffer.size());
  if (n < 0) return errno_error("read /proc/self/exe", errno);
  std::string path(buffer.data(), static_cast<size_t>(n));
  if (path.ends_with(" (deleted)"))
    return Error{ErrorKind::kFailed, "the agent's own program file was deleted: " + path};
  return path;
}

}  // namespace flurry::agent
