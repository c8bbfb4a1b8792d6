#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "core/nix/nar.h"
#include "core/nix/wire.h"
#include "core/sys/fd.h"

namespace flurry::nix {
namespace {

constexpr size_t kPiece = 64 << 10;

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

Error changed(const std::string& where) { return {ErrorKind::kFailed, where + " changed while it was read"}; }

class Writer {
 public:
  explicit Writer(const NarSink& sink)
      : sink_(sink), piece_(std::make_unique_for_overwrite<char[]>(kPiece)) {}

  // The node `name` in `directory`; `where` is its full path, for messages.
  Result<void> node(int directory, const char* name, const std::string& where, size_t depth) {
    struct stat status {};
    if (::fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
      return sys::errno_error("read " + where, errno);
    RETURN_IF_ERROR(str("("));
    RETURN_IF_ERROR(str("type"));
    if (S_ISREG(status.st_mode))
      RETURN_IF_ERROR(file(directory, name, where));
    else if (S_ISLNK(status.st_mode))
      RETURN_IF_ERROR(symlink(directory, name, where));
    else if (S_ISDIR(status.st_mode))
      RETURN_IF_ERROR(entries(directory, name, where, depth));
    else
      return Error{ErrorKind::kUnsupported, where + " is no file, symlink or directory"};
    return str(")");
  }

  Result<void> str(std::string_view text) {
    std::string encoded;
    put_str(encoded, text);
    return bytes(encoded);
  }

  Result<void> flush() {
    const std::string_view piece(piece_.get(), std::exchange(size_, 0));
    return piece.empty() ? Result<void>() : sink_(piece);
  }

 private:
  Result<void> bytes(std::string_view data) {
    if (size_ + data.size() > kPiece) RETURN_IF_ERROR(flush());
    size_ += data.copy(piece_.get() + size_, data.size());
    return {};
  }

  Result<void> file(int directory, const char* name, const std::string& where) {
    const sys::Fd fd(::openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
    struct stat status {};
    if (!fd.is_open() || ::fstat(fd.get(), &status) != 0) return sys::errno_error("open " + where, errno);
    if (!S_ISREG(status.st_mode)) return changed(where);
    RETURN_IF_ERROR(str("regular"));
    if ((status.st_mode & S_IXUSR) != 0) {
      RETURN_IF_ERROR(str("executable"));
      RETURN_IF_ERROR(str(""));
    }
    RETURN_IF_ERROR(str("contents"));
    return contents(fd.get(), static_cast<uint64_t>(status.st_size), where);
  }

  Result<void> contents(int fd, uint64_t size, const std::string& where) {
    std::string header;
    put_u64(header, size);
    RETURN_IF_ERROR(bytes(header));
    for (uint64_t left = size; left > 0;) {
      if (size_ == kPiece) RETURN_IF_ERROR(flush());
      const auto wanted = static_cast<size_t>(std::min<uint64_t>(kPiece - size_, left));
      const ssize_t n = ::read(fd, piece_.get() + size_, wanted);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return sys::errno_error("read " + where, errno);
      if (n == 0) return changed(where);
      size_ += static_cast<size_t>(n);
      left -= static_cast<uint64_t>(n);
    }
    char more = 0;
    if (::read(fd, &more, 1) != 0) return changed(where);
    return bytes(std::string(padding_of(size), '\0'));
  }

  Result<void> symlink(int directory, const char* name, const std::string& where) {
    std::string target(kNarTargetMax + 1, '\0');
    const ssize_t n = ::readlinkat(directory, name, target.data(), target.size());
    if (n < 0) return sys::errno_error("read " + where, errno);
    if (static_cast<size_t>(n) > kNarTargetMax)
      return Error{ErrorKind::kUnsupported, where + " is a symlink with a target that is too long"};
    target.resize(static_cast<size_t>(n));
    RETURN_IF_ERROR(str("symlink"));
    RETURN_IF_ERROR(str("target"));
    return str(target);
  }

  Result<void> entries(int directory, const char* name, const std::string& where, size_t depth) {
    if (depth >= kNarDepthMax) return Error{ErrorKind::kUnsupported, where + " is nested too deeply"};
    const sys::Fd fd(::openat(directory, name, O_RDONLY | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC));
    if (!fd.is_open()) return sys::errno_error("open " + where, errno);
    ASSIGN_OR_RETURN(const auto names, sorted_names(fd.get(), where));
    RETURN_IF_ERROR(str("directory"));
    for (const auto& entry : names) {
      for (const char* tag : {"entry", "(", "name"}) RETURN_IF_ERROR(str(tag));
      RETURN_IF_ERROR(str(entry));
      RETURN_IF_ERROR(str("node"));
      RETURN_IF_ERROR(node(fd.get(), entry.c_str(), where + "/" + entry, depth + 1));
      RETURN_IF_ERROR(str(")"));
    }
    return {};
  }

  static Result<std::vector<std::string>> sorted_names(int fd, const std::string& where) {
    sys::Fd own(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!own.is_open()) return sys::errno_error("open " + where, errno);
    const std::unique_ptr<DIR, CloseDirectory> listing(::fdopendir(own.get()));
    if (!listing) return sys::errno_error("list " + where, errno);
    static_cast<void>(own.release());  // the listing closes it
    std::vector<std::string> names;
    for (;;) {
      errno = 0;
      const dirent* entry = ::readdir(listing.get());
      if (entry == nullptr) break;
      const std::string name = entry->d_name;
      if (name != "." && name != "..") names.push_back(name);
    }
    if (errno != 0) return sys::errno_error("list " + where, errno);
    std::sort(names.begin(), names.end());
    return names;
  }

  const NarSink& sink_;
  const std::unique_ptr<char[]> piece_;  // of kPiece bytes
  size_t size_ = 0;                      // of piece_, not yet given to the sink
};

}  // namespace

Result<void> write_nar(const std::string& path, const NarSink& sink) {
  Writer writer(sink);
  RETURN_IF_ERROR(writer.str(kNarMagic));
  RETURN_IF_ERROR(writer.node(AT_FDCWD, path.c_str(), path, 0));
  return writer.flush();
}

}  // namespace flurry::nix
