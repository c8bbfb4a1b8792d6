#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>

#include "core/delta/nar_outline.h"
#include "core/nix/nar.h"
#include "core/nix/wire.h"
#include "core/sys/fd.h"

// The walk of core/nix/nar_writer.cc, with holes for the contents.

namespace flurry::delta {
namespace {

struct CloseDirectory {
  void operator()(DIR* directory) const { ::closedir(directory); }
};

class Walk {
 public:
  explicit Walk(std::string root) : root_(std::move(root)) { str(nix::kNarMagic); }

  Result<void> node(int directory, const char* name, const std::string& below, size_t depth) {
    struct stat status {};
    if (::fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) != 0)
      return sys::errno_error("read " + where(below), errno);
    str("(");
    str("type");
    if (S_ISREG(status.st_mode))
      RETURN_IF_ERROR(file(status, below));
    else if (S_ISLNK(status.st_mode))
      RETURN_IF_ERROR(symlink(directory, name, below));
    else if (S_ISDIR(status.st_mode))
      RETURN_IF_ERROR(entries(directory, name, below, depth));
    else
      return Error{ErrorKind::kUnsupported, where(below) + " is no file, symlink or directory"};
    str(")");
    if (tree_.outline.text.size() > kOutlineMax)
      return Error{ErrorKind::kUnsupported, root_ + " has too many files for a delta"};
    return {};
  }

  NarTree take() { return std::move(tree_); }

 private:
  std::string where(const std::string& below) const { return below.empty() ? root_ : root_ + "/" + below; }
  void str(std::string_view text) { nix::put_str(tree_.outline.text, text); }

  Result<void> file(const struct stat& status, const std::string& below) {
    if (tree_.files.size() >= kFilesMax)
      return Error{ErrorKind::kUnsupported, root_ + " has too many files for a delta"};
    str("regular");
    if ((status.st_mode & S_IXUSR) != 0) {
      str("executable");
      str("");
    }
    str("contents");
    const auto size = static_cast<uint64_t>(status.st_size);
    nix::put_u64(tree_.outline.text, size);
    tree_.outline.holes.push_back({tree_.outline.text.size(), size});
    tree_.files.push_back(below);
    return {};
  }

  Result<void> symlink(int directory, const char* name, const std::string& below) {
    std::string target(nix::kNarTargetMax + 1, '\0');
    const ssize_t n = ::readlinkat(directory, name, target.data(), target.size());
    if (n < 0) return sys::errno_error("read " + where(below), errno);
    if (static_cast<size_t>(n) > nix::kNarTargetMax)
      return Error{ErrorKind::kUnsupported, where(below) + " is a symlink with a target that is too long"};
    str("symlink");
    str("target");
    str(std::string_view(target).substr(0, static_cast<size_t>(n)));
    return {};
  }

  Result<void> entries(int directory, const char* name, const std::string& below, size_t depth) {
    if (depth >= nix::kNarDepthMax)
      return Error{ErrorKind::kUnsupported, where(below) + " is nested too deeply"};
    sys::Fd fd(::openat(directory, name, O_RDONLY | O_NOFOLLOW | O_DIRECTORY | O_CLOEXEC));
    if (!fd.is_open()) return sys::errno_error("open " + where(below), errno);
    const std::unique_ptr<DIR, CloseDirectory> listing(::fdopendir(fd.get()));
    if (!listing) return sys::errno_error("list " + where(below), errno);
    const int listed = fd.release();  // the listing closes it
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(listing.get())) {
      const std::string_view found = entry->d_name;
      if (found != "." && found != "..") names.emplace_back(found);
      errno = 0;
    }
    if (errno != 0) return sys::errno_error("list " + where(below), errno);
    std::sort(names.begin(), names.end());
    str("directory");
    for (const auto& entry : names) {
      for (const char* tag : {"entry", "(", "name"}) str(tag);
      str(entry);
      str("node");
      RETURN_IF_ERROR(node(listed, entry.c_str(), below.empty() ? entry : below + "/" + entry, depth + 1));
      str(")");
    }
    return {};
  }

  const std::string root_;
  NarTree tree_;
};

}  // namespace

Result<NarTree> read_tree(const std::string& path) {
  Walk walk(path);
  RETURN_IF_ERROR(walk.node(AT_FDCWD, path.c_str(), "", 0));
  return walk.take();
}

}  // namespace flurry::delta
