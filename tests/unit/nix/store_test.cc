// The client against real Nix.
#include "stores.h"

namespace flurry {
namespace {

TEST_F(Stores, ClosureIsSortedAndOurNarsAreNixs) {
  const auto closure = nix::query_closure(*local_, build_top(), in_seconds(10));
  ASSERT_TRUE(closure) << closure.error().message;
  ASSERT_EQ(closure->size(), 4u);
  EXPECT_EQ(closure->front().path.name(), "lib");
  EXPECT_EQ(closure->back().path.name(), "top");
  for (const auto& info : *closure) {
    std::string nar;
    nix::NarParser parser(info.nar_size);
    ASSERT_TRUE(nix::write_nar(info.path.str(), [&](std::string_view piece) -> Result<void> {
      nar += piece;
      RETURN_IF_ERROR(parser.feed(piece));
      return {};
    }));
    EXPECT_TRUE(parser.is_done());
    const auto dumped = sys::run_checked({.argv = {"nix-store", "--dump", info.path.str()}}, in_seconds(20));
    ASSERT_TRUE(dumped);
    EXPECT_TRUE(nar == *dumped) << info.path.str();
  }
}

TEST_F(Stores, OurSignaturesAreNixs) {
  const StorePath top = build_top();
  const std::string file = dir() + "/secret";
  ASSERT_TRUE(sys::run_checked(
      {.argv = {"nix-store", "--generate-binary-cache-key", "fleet-1", file, dir() + "/public"}},
      in_seconds(20)));
  const auto key = copy::SigningKey::load(file);
  ASSERT_TRUE(key) << key.error().message;
  auto ours = nix::query_closure(*local_, top, in_seconds(10));
  ASSERT_TRUE(ours);
  for (auto& info : *ours) key->add_to(info);
  const auto signed_by_nix =
      sys::run_checked({.argv = {"nix", "--extra-experimental-features", "nix-command", "store", "sign",
                                 "--recursive", "--key-file", file, top.str()}},
                       in_seconds(20));
  ASSERT_TRUE(signed_by_nix) << signed_by_nix.error().message;
  const auto theirs = nix::query_closure(*local_, top, in_seconds(10));
  ASSERT_TRUE(theirs);
  for (size_t i = 0; i < theirs->size(); ++i) {
    ASSERT_EQ((*theirs)[i].signatures.size(), 1u);
    EXPECT_EQ((*ours)[i].signatures, (*theirs)[i].signatures) << (*ours)[i].path.str();
  }
}

TEST_F(Stores, BuildTellsWhichFailed) {
  const std::vector<std::string> targets = {derivation("bad") + "!*", derivation("after") + "!*",
                                            derivation("top") + "!*"};
  std::string lines;
  const auto results = local_->build_paths_with_results(
      targets,
      [&](const nix::BuildEvent& event) {
        if (event.kind == nix::BuildEvent::Kind::kLogLine)
          lines += event.derivation + ":" + event.text + "\n";
      },
      in_seconds(60));
  ASSERT_TRUE(results) << results.error().message;
  ASSERT_EQ(results->size(), 3u);
  for (const auto& result : *results) {
    if (result.target == targets[0]) {
      EXPECT_EQ(result.status, nix::BuildStatus::kPermanentFailure);
      EXPECT_NE(result.error.find("exit code 3"), std::string::npos) << result.error;
    } else if (result.target == targets[1]) {
      EXPECT_EQ(result.status, nix::BuildStatus::kDependencyFailed);
    } else {
      EXPECT_TRUE(result.is_success()) << result.error;
    }
  }
  EXPECT_NE(lines.find("-bad.drv:last words"), std::string::npos) << lines;
}

}  // namespace
}  // namespace flurry
