// The copy and the import against real Nix.
#include <algorithm>

#include "cli/copy/estimate.h"
#include "stores.h"

namespace flurry {
namespace {

TEST_F(Stores, CopyResumesAfterACutAtAnyPlaceAndVerifies) {
  const StorePath top = build_top();
  size_t total = 0;
  for (const size_t cut : {size_t{3}, size_t{300}, size_t{1500}, size_t{200'000}, size_t{1'900'000}}) {
    Host host(this->host(), {.cut_at = cut});
    const auto stats = copy::copy_closure(host, kVerbs, deployment(), top, *local_, kOptions, {});
    ASSERT_FALSE(stats) << cut;
    EXPECT_EQ(stats.error().kind, ErrorKind::kUnreachable) << stats.error().message;
    total = std::max(total, host.bytes_to_host());
  }
  Host host(this->host(), {});
  copy::CopyProgress last;
  const auto stats = copy::copy_closure(host, kVerbs, deployment(), top, *local_, kOptions,
                                        [&](const copy::CopyProgress& p) { last = p; });
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(stats->closure_paths, 4u);
  EXPECT_LT(stats->copied_paths, 4u);  // the first small ones came before the last cut
  EXPECT_EQ(last.paths_done, stats->copied_paths);
  EXPECT_EQ(last.bytes_sent, stats->copied_bytes);
  const auto verified = on_host("nix-store --verify-path $(nix-store -qR " + top.str() +
                                ") && readlink /nix/var/nix/gcroots/flurry/" + deployment().str() + "-" +
                                std::string(top.hash_part()) + "-incoming");
  ASSERT_TRUE(verified) << verified.error().message;
  EXPECT_EQ(*verified, top.str() + "\n");
  Host again(this->host(), {});
  const auto nothing = copy::copy_closure(again, kVerbs, deployment(), top, *local_, kOptions, {});
  ASSERT_TRUE(nothing) << nothing.error().message;
  EXPECT_EQ(nothing->copied_paths, 0u);
}

TEST_F(Stores, AFlippedByteIsAHashMismatchAndRegistersNothing) {
  const StorePath top = build_top();
  Host host(this->host(), {.flip_at = 1'000'000});  // within the contents of "big"
  const auto stats = copy::copy_closure(host, kVerbs, deployment(), top, *local_, kOptions, {});
  ASSERT_FALSE(stats);
  EXPECT_NE(stats.error().message.find("hash mismatch"), std::string::npos) << stats.error().message;
  EXPECT_NE(stats.error().message.find("-big"), std::string::npos) << stats.error().message;
  const auto closure = nix::query_closure(*local_, top, in_seconds(10));
  ASSERT_TRUE(closure);
  for (const auto& info : *closure) {
    const auto valid = on_host("nix-store --check-validity " + info.path.str());
    EXPECT_EQ(valid.has_value(), info.path.name() == "lib") << info.path.str();
  }
}

// A release and its successor: every hash is another, one file has a few bytes more, one is new.
constexpr const char* kReleases = R"(
{ v }: let mk = name: text: derivation {
      inherit name; system = builtins.currentSystem; builder = "/bin/busybox";
      args = [ "sh" "-c" text ]; PATH = "/bin:/usr/bin"; };
    lib = mk "lib-${v}" "/bin/busybox mkdir $out; echo ${v} > $out/version";
    same = mk "same" "/bin/busybox mkdir $out; /bin/busybox cp /bin/busybox $out/tool; echo ${lib}/x $out >> $out/tool";
    more = mk "more-${v}" "/bin/busybox cat /bin/busybox > $out; echo release ${v} of ${lib} >> $out";
in mk "top" "/bin/busybox mkdir $out; echo ${same} ${more} > $out/refs; echo only in ${v} > $out/${v}"
)";

class Releases : public Stores {
 protected:
  void SetUp() override {
    Stores::SetUp();
    if (IsSkipped()) return;
    std::ofstream(dir() + "/releases.nix") << kReleases;
    before_ = build("1.0");
    after_ = build("1.1");
    ASSERT_TRUE(before_ && after_);
    Host host(this->host(), {});
    const auto first = copy::copy_closure(host, kVerbs, deployment(), *before_, *local_, kOptions, {});
    ASSERT_TRUE(first) << first.error().message;
    EXPECT_EQ(first->delta_paths, 0u);
    in_full_ = host.bytes_to_host();
  }

  std::optional<StorePath> build(const std::string& version) {
    auto out = sys::run_checked(
        {.argv = {"nix-build", "--no-out-link", dir() + "/releases.nix", "--argstr", "v", version}},
        in_seconds(60));
    EXPECT_TRUE(out) << out.error().message;
    if (!out) return std::nullopt;
    return *StorePath::parse(out->substr(0, out->find('\n')));
  }

  // Copies the successor with the help of what the host has; what it took.
  Result<copy::CopyStats> update() {
    Host host(this->host(), {});
    const std::vector<StorePath> bases{*before_};
    auto options = kOptions;
    options.bases = bases;
    options.shared = shared_;
    auto stats = copy::copy_closure(host, kVerbs, deployment(), *after_, *local_, options,
                                    [this](const copy::CopyProgress& p) { last_ = p; });
    bytes_ = host.bytes_to_host();
    const auto verified = on_host("nix-store --verify-path $(nix-store -qR " + after_->str() + ")");
    EXPECT_TRUE(verified) << verified.error().message;
    return stats;
  }

  std::optional<StorePath> before_, after_;
  copy::CopyProgress last_;
  copy::SharedBlocks* shared_ = nullptr;
  size_t in_full_ = 0;  // bytes
  size_t bytes_ = 0;
};

TEST_F(Releases, ASuccessorTakesAFewBytesAndIsWhatItShouldBe) {
  const auto stats = update();
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(stats->copied_paths, 4u);
  EXPECT_EQ(stats->delta_paths, 3u) << "all but the smallest";
  EXPECT_EQ(last_.bytes_sent, stats->copied_bytes);
  EXPECT_LT(bytes_, in_full_ / 100);
}

TEST_F(Releases, DeltasThatSeveralHostsGetAreMadeOnceAndTakeAsFewBytes) {
  copy::SharedBlocks shared;
  shared_ = &shared;
  ASSERT_TRUE(update());
  const auto made = shared.made();
  EXPECT_EQ(made, 3u);
  ASSERT_TRUE(on_host("rm -f /nix/var/nix/gcroots/flurry/* && nix-store --delete $(nix-store -qR " +
                      after_->str() + ") --ignore-liveness"));
  ASSERT_TRUE(on_host("nix-store --check-validity " + before_->str()));
  const auto again = update();
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(again->delta_paths, 3u);
  EXPECT_EQ(shared.made(), made);
  EXPECT_LT(bytes_, in_full_ / 100);
}

TEST_F(Releases, AHostWithoutTheBaseGetsAllOfIt) {
  ASSERT_TRUE(on_host("rm -f /nix/var/nix/gcroots/flurry/* && nix-store --delete $(nix-store -qR " +
                      before_->str() + ")"));
  const auto stats = update();
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(stats->delta_paths, 0u);
  EXPECT_EQ(stats->copied_bytes, last_.bytes_sent);
}

TEST_F(Releases, ABaseThatIsDamagedOnTheHostCostsATryAndNothingElse) {
  const auto damaged = on_host(
      "chmod u+w /nix/store/*-same /nix/store/*-same/tool && printf x | dd "
      "of=$(echo /nix/store/*-same/tool) bs=1 seek=1000 conv=notrunc 2>/dev/null");
  ASSERT_TRUE(damaged) << damaged.error().message;
  const auto stats = update();
  ASSERT_TRUE(stats) << stats.error().message;
}

TEST_F(Releases, AnotherPathUnderTheBasesNameIsSeenBeforeItIsUsed) {
  const auto changed = on_host("sqlite3 /nix/var/nix/db/db.sqlite \"update ValidPaths set hash='sha256:" +
                               std::string(64, '0') + "' where path like '%-same'\"");
  if (!changed) GTEST_SKIP() << "no sqlite3";
  const auto stats = update();
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(stats->delta_paths, 0u);
}

TEST_F(Stores, AFullHostIsSaidBeforeAnythingIsSent) {
  agent::ImportOptions options;
  options.space_margin_bytes = 1ull << 60;
  Host host(this->host(), {}, options);
  const auto stats = copy::copy_closure(host, kVerbs, deployment(), build_top(), *local_, kOptions, {});
  ASSERT_FALSE(stats);
  EXPECT_EQ(stats.error().kind, ErrorKind::kNoSpace) << stats.error().message;
  EXPECT_LT(host.bytes_to_host(), 2000u);
}

// One path that is more than the first channel takes before the others are there.
class BigCopy : public Stores {
 protected:
  void SetUp() override {
    Stores::SetUp();
    if (IsSkipped()) return;
    std::ofstream(dir() + "/noise.nix") << R"(derivation {
      name = "noise"; system = builtins.currentSystem; builder = "/bin/busybox"; PATH = "/bin:/usr/bin";
      args = [ "sh" "-c" "/bin/busybox dd if=/dev/urandom of=$out bs=1000000 count=60 2>/dev/null; true" ]; })";
    const auto out =
        sys::run_checked({.argv = {"nix-build", "--no-out-link", dir() + "/noise.nix"}}, in_seconds(60));
    ASSERT_TRUE(out) << out.error().message;
    top_ = *StorePath::parse(out->substr(0, out->find('\n')));
  }

  Result<copy::CopyStats> copy_to(Host& host) {
    auto stats = copy::copy_closure(host, kVerbs, deployment(), *top_, *local_, kOptions, {});
    if (stats) {
      EXPECT_TRUE(on_host("nix-store --verify-path " + top_->str()));
    }
    return stats;
  }

  std::optional<StorePath> top_;
};

TEST_F(BigCopy, ComesOverSeveralChannels) {
  Host host(this->host(), {});
  const auto stats = copy_to(host);
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(host.lanes(), 4u);
  EXPECT_LT(host.bytes_to_host(), stats->wire_bytes);
}

TEST_F(BigCopy, NeedsNoMoreThanOneChannel) {
  Host host(this->host(), {});
  host.refuse_lanes();
  const auto stats = copy_to(host);
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_GE(host.bytes_to_host(), stats->wire_bytes);
}

TEST_F(BigCopy, EndsWithAnErrorWhereAChannelDiesAndRegistersNothing) {
  Host host(this->host(), {});
  host.cut_lanes();
  const auto stats = copy_to(host);
  ASSERT_FALSE(stats);
  EXPECT_FALSE(on_host("nix-store --check-validity " + top_->str()));
  Host again(this->host(), {});
  EXPECT_TRUE(copy_to(again));
}

TEST_F(BigCopy, IsEstimatedWithoutAnyChangeOnTheHost) {
  Host host(this->host(), {});
  const auto estimate = copy::estimate_copy(host, kVerbs, deployment(), *top_, *local_, kOptions);
  ASSERT_TRUE(estimate) << estimate.error().message;
  EXPECT_EQ(estimate->missing_paths, 1u);
  EXPECT_EQ(estimate->missing_bytes, estimate->closure_bytes);
  EXPECT_FALSE(on_host("nix-store --check-validity " + top_->str()));
  EXPECT_FALSE(on_host("ls /nix/var/nix/gcroots/flurry"));
  const auto stats = copy_to(host);
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(stats->copied_bytes, estimate->missing_bytes);
  EXPECT_NEAR(static_cast<double>(stats->wire_bytes), static_cast<double>(estimate->wire_bytes), 1e6);
  const auto none = copy::estimate_copy(host, kVerbs, deployment(), *top_, *local_, kOptions);
  ASSERT_TRUE(none) << none.error().message;
  EXPECT_EQ(none->missing_paths, 0u);
  EXPECT_EQ(none->wire_bytes, 0u);
}

TEST_F(BigCopy, OfManyHostsIsPackedOnceAndIsEachHostsOwn) {
  copy::SharedBlocks shared;
  std::vector<std::jthread> threads;
  for (int i = 0; i < 3; ++i)
    threads.emplace_back([this, &shared, root = dir() + "/many" + std::to_string(i)] {
      std::filesystem::create_directories(root);
      auto store = nix::Daemon::connect(in_seconds(10));
      ASSERT_TRUE(store) << store.error().message;
      Host host(root, {});
      auto options = kOptions;
      options.shared = &shared;
      const auto stats = copy::copy_closure(host, kVerbs, deployment(), *top_, *store, options, {});
      ASSERT_TRUE(stats) << stats.error().message;
      EXPECT_EQ(stats->copied_paths, 1u);
      const auto verified = sys::run_checked(
          {.argv = {"unshare", "-m", "sh", "-c",
                    "mount --bind " + root + " /nix && nix-store --verify-path " + top_->str()}},
          in_seconds(60));
      EXPECT_TRUE(verified) << verified.error().message;
    });
  threads.clear();
  EXPECT_EQ(shared.made(), 58u) << "60 MB in blocks of 1 MiB";
}

}  // namespace
}  // namespace flurry
