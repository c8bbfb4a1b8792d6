#include "core/delta/file_match.h"
#include "core/delta/hash_pairs.h"
#include "tests/unit/delta/trees.h"

namespace flurry::delta {
namespace {

StorePath store_path(const std::string& hash, const std::string& name) {
  return *StorePath::parse("/nix/store/" + hash + "-" + name);
}

class Hashes : public DeltaTest {
 protected:
  std::string rewritten(std::string text) const {
    EXPECT_EQ(rewriter_.rewrite(text, true), text.size());
    return text;
  }
  bool replaces(const HashRewriter& rewriter, unsigned from, unsigned to) const {
    std::string text = hash(from);
    rewriter.rewrite(text, true);
    return text == hash(to);
  }
};

TEST_F(Hashes, AreReplacedWhereverTheyStand) {
  rewriter_ = HashRewriter({pair(hash(1), hash(2)), pair(hash(3), hash(4))});
  EXPECT_EQ(rewritten("a" + hash(1) + hash(3) + " /nix/store/" + hash(3) + "-x"),
            "a" + hash(2) + hash(4) + " /nix/store/" + hash(4) + "-x");
  EXPECT_EQ(rewritten(hash(1).substr(1)), hash(1).substr(1));
  EXPECT_EQ(rewritten(hash(5)), hash(5));
}

TEST_F(Hashes, AreReplacedOnceAndFromTheFront) {
  rewriter_ = HashRewriter({pair(hash(1), hash(2)), pair(hash(2), hash(1))});
  EXPECT_EQ(rewritten(hash(1) + "-" + hash(2)), hash(2) + "-" + hash(1));
  const std::string run(kHashSize, 'a');
  rewriter_ = HashRewriter({pair(run, hash(2))});
  EXPECT_EQ(rewritten(run + "aaa"), hash(2) + "aaa");
}

TEST_F(Hashes, AreReplacedTheSameWhateverThePiecesAre) {
  rewriter_ = HashRewriter({pair(hash(1), hash(2)), pair(hash(3), hash(4))});
  std::mt19937 random(7);
  for (int round = 0; round < 200; ++round) {
    std::string text;
    while (text.size() < 600) {
      const auto kind = random() % 4;
      text += kind == 0 ? hash(1) : kind == 1 ? hash(3) : hash(100 + random() % 50).substr(random() % 32);
      if (random() % 3 == 0) text += '-';
    }
    const std::string wanted = rewritten(text);
    std::string out, window;
    for (size_t at = 0; at < text.size();) {
      const size_t n = std::min<size_t>(1 + random() % 90, text.size() - at);
      window += text.substr(at, n);
      at += n;
      const size_t ready = rewriter_.rewrite(window, at == text.size());
      out += window.substr(0, ready);
      window.erase(0, ready);
    }
    ASSERT_EQ(out, wanted);
  }
}

TEST_F(Hashes, ArePairedByTheNamesOfReferences) {
  nix::PathInfo base{
      .path = store_path(hash(1), "tool-1.0"),
      .references = {store_path(hash(1), "tool-1.0"), store_path(hash(11), "libc-2.36"),
                     store_path(hash(12), "openssl-3.0.20"), store_path(hash(13), "openssl-3.0.20-dev"),
                     store_path(hash(14), "source"), store_path(hash(15), "same")}};
  nix::PathInfo path{
      .path = store_path(hash(2), "tool-1.1"),
      .references = {store_path(hash(2), "tool-1.1"), store_path(hash(21), "libc-2.36"),
                     store_path(hash(22), "openssl-3.0.22"), store_path(hash(23), "openssl-3.0.22-dev"),
                     store_path(hash(24), "source"), store_path(hash(25), "source"),
                     store_path(hash(15), "same")}};
  const HashRewriter rewriter = hash_pairs(base, path);
  EXPECT_EQ(rewriter.pairs().size(), 4u);
  for (const auto& [from, to] : {std::pair{1u, 2u}, {11, 21}, {12, 22}, {13, 23}})
    EXPECT_TRUE(replaces(rewriter, from, to)) << from;
}

TEST(NameWithoutVersion, KeepsTheOutput) {
  for (const auto& [name, wanted] : std::initializer_list<std::pair<const char*, const char*>>{
           {"openssl-3.0.20-dev", "openssl-dev"},
           {"openssl-3.0.20", "openssl"},
           {"nixos-system-web-01-24.11", "nixos-system-web"},
           {"unit-nginx.service", "unit-nginx.service"},
           {"linux-6.1.0-modules", "linux-modules"},
           {"a-", "a-"},
           {"-", "-"},
           {"x-1-", "x"},
       })
    EXPECT_EQ(name_without_version(name), wanted) << name;
}

using Matches = std::vector<std::optional<size_t>>;

TEST(MatchFiles, PrefersTheSamePlaceThenTheSameButForVersionsThenTheSameName) {
  EXPECT_EQ(match_files({"bin/a", "lib/libz.so.1.3", "new/place", "other"},
                        {"bin/a", "lib/libz.so.1.2.13", "old/place", "x"}),
            (Matches{0, 1, 2, std::nullopt}));
}

TEST(MatchFiles, GuessesNothingWhereSeveralAreAlike) {
  EXPECT_EQ(match_files({"c/__init__.py"}, {"a/__init__.py", "b/__init__.py"}), (Matches{std::nullopt}));
}

}  // namespace
}  // namespace flurry::delta
