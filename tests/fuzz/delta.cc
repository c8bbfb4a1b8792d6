// A delta from a hostile controller, against a base that the host has: it ends in an error or in a NAR of the
// announced size, reads nothing outside the base, and the same bytes give the same whatever the pieces are.
#include <filesystem>
#include <fstream>

#include "core/delta/delta_reader.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"

namespace flurry::fuzz {
namespace {

// As in the corpus: the seeds are real deltas against it.
struct Base {
  Base() {
    const std::string top = folder.path() + "/base";
    std::filesystem::create_directories(top + "/lib");
    std::string words;
    for (int i = 0; i < 300; ++i) words += std::to_string(i * 7919) + " /nix/store/";
    std::ofstream(top + "/lib/words") << words;
    std::ofstream(top + "/hash") << std::string(32, 'a') + "-name";
    std::ofstream(top + "/same") << "these bytes stay";
    std::ofstream(top + "/zero");
    std::filesystem::create_symlink("lib/words", top + "/link");
  }
  Folder folder;
};

std::string read_all(const std::string& base, std::string_view bytes, uint64_t nar_size, size_t piece,
                     size_t buffer_size) {
  delta::HashPair pair{};
  pair.from.fill('a');
  pair.to.fill('b');
  delta::DeltaReader reader(base, delta::HashRewriter({pair}), nar_size, [&]() -> Result<std::string_view> {
    const auto next = bytes.substr(0, piece);
    bytes.remove_prefix(next.size());
    return next;
  });
  std::string nar;
  std::string buffer(buffer_size, '\0');
  for (;;) {
    const auto n = reader.read(buffer);
    if (!n) return "";
    if (*n == 0) break;
    nar.append(buffer, 0, *n);
    FLURRY_CHECK(nar.size() <= nar_size);
  }
  FLURRY_CHECK(nar.size() == nar_size);
  return nar;
}

}  // namespace

// The first two bytes are the NAR's announced size, so that a mutation can make it fit.
void run_one(std::string_view bytes) {
  static const Base base;
  if (bytes.size() < 2) return;
  const uint64_t nar_size =
      static_cast<unsigned char>(bytes[0]) + 256u * static_cast<unsigned char>(bytes[1]);
  const std::string top = base.folder.path() + "/base";
  const std::string nar = read_all(top, bytes.substr(2), nar_size, 65536, 65536);
  FLURRY_CHECK(read_all(top, bytes.substr(2), nar_size, 3, 11) == nar);
}

}  // namespace flurry::fuzz
