// A NAR that is accepted is exactly what Nix would write for the files in it: unpacked and packed again it is
// the same bytes. In pieces it is judged as it is at once.
#include "core/nix/nar.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>

#include "core/nix/wire.h"
#include "core/sys/fd.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"

namespace flurry::fuzz {
namespace {

struct Verdict {
  bool is_accepted;
  size_t used;
  bool operator==(const Verdict&) const = default;
};

Verdict judge(std::string_view nar, uint64_t limit, size_t piece) {
  nix::NarParser parser(limit);
  size_t used = 0;
  while (used < nar.size() && !parser.is_done()) {
    const auto part = nar.substr(used, piece);
    const auto taken = parser.feed(part);
    if (!taken) {
      check_told(taken.error(), nar.size());
      return {false, 0};
    }
    FLURRY_CHECK(*taken == part.size() || parser.is_done());
    used += *taken;
  }
  FLURRY_CHECK(parser.size() == used && used <= limit);
  return {parser.is_done(), parser.is_done() ? used : 0};
}

// Unpacks a NAR that the parser has accepted, and so needs no checks.
class Unpacker {
 public:
  explicit Unpacker(std::string_view nar) : rest_(nar) { text(); }  // the magic

  void node(int directory, const std::string& name) {
    text();  // "("
    text();  // "type"
    const auto type = text();
    if (type == "regular") {
      const bool is_executable = text() == "executable";
      if (is_executable) text(), text();  // "", "contents"
      write_file(directory, name, is_executable ? 0755 : 0644, text());
      text();  // ")"
    } else if (type == "symlink") {
      text();  // "target"
      FLURRY_CHECK(::symlinkat(std::string(text()).c_str(), directory, name.c_str()) == 0);
      text();  // ")"
    } else {
      FLURRY_CHECK(::mkdirat(directory, name.c_str(), 0755) == 0);
      const sys::Fd fd(::openat(directory, name.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
      while (text() == "entry") {
        text();  // "("
        text();  // "name"
        const std::string child(text());
        text();  // "node"
        node(fd.get(), child);
        text();  // ")"
      }
    }
  }

 private:
  std::string_view text() {
    const size_t size = nix::load_u64(rest_.data());
    const auto out = rest_.substr(8, size);
    rest_.remove_prefix(8 + size + nix::padding_of(size));
    return out;
  }

  static void write_file(int directory, const std::string& name, mode_t mode, std::string_view bytes) {
    const sys::Fd fd(::openat(directory, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode));
    FLURRY_CHECK(fd.is_open());
    FLURRY_CHECK(::write(fd.get(), bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }

  std::string_view rest_;
};

void check_repacked(std::string_view nar) {
  static const Folder folder;
  const std::string top = folder.path() + "/top";
  Unpacker(nar).node(AT_FDCWD, top);
  std::string packed;
  const auto written = nix::write_nar(top, [&](std::string_view piece) -> Result<void> {
    packed += piece;
    return {};
  });
  std::filesystem::remove_all(top);
  FLURRY_CHECK(written && packed == nar);
}

}  // namespace

void run_one(std::string_view bytes) {
  Input input(bytes);
  const size_t piece = 1 + input.byte() % 16;
  const size_t less = input.byte();
  const auto nar = input.rest();
  const uint64_t limit = nar.size() - std::min(nar.size(), less);
  const Verdict verdict = judge(nar, limit, SIZE_MAX);
  FLURRY_CHECK(judge(nar, limit, piece) == verdict);
  if (verdict.is_accepted) check_repacked(nar.substr(0, verdict.used));
}

}  // namespace flurry::fuzz
