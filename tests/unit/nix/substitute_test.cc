// A host that fetches itself what its substituters have, against real Nix.
#include <array>
#include <thread>

#include "cli/copy/send_order.h"
#include "core/transfer/frame.h"
#include "core/transfer/stream_mark.h"
#include "flurry/v1/copy.pb.h"
#include "slow_cache.h"
#include "stores.h"

namespace flurry {
namespace {

// A cache that the host's Nix uses, and this machine's doesn't.
class Substitutes : public Stores {
 protected:
  void SetUp() override {
    Stores::SetUp();
    if (IsSkipped()) return;
    ::setenv("XDG_CACHE_HOME", (dir() + "/xdg").c_str(), 1);  // where Nix remembers what caches had
    top_ = build_top();
    const auto closure = nix::query_closure(*local_, *top_, in_seconds(10));
    ASSERT_TRUE(closure);
    closure_ = *closure;
    for (const auto& info : closure_) nar_bytes_ += info.nar_size;
  }
  void TearDown() override {
    if (IsSkipped()) return;
    configure("");
    static_cast<void>(sys::run({.argv = {"rm", "-rf", cache(), dir() + "/xdg"}}, in_seconds(20)));
  }

  static std::string cache() { return dir() + "/cache"; }
  static void configure(const std::string& substituters, bool needs_signatures = false) {
    std::ofstream(dir() + "/conf/nix.conf")
        << "build-users-group =\nsandbox = false\nsubstituters = " << substituters
        << "\nrequire-sigs = " << (needs_signatures ? "true" : "false") << "\ndownload-attempts = 1\n";
  }
  const StorePath& path(const std::string& name) const {
    for (const auto& info : closure_)
      if (info.path.name() == name) return info.path;
    ADD_FAILURE() << "no " << name;
    return *top_;
  }
  // The closure of that path.
  void fill_cache(const std::string& name) {
    const auto done = sys::run_checked({.argv = {"nix", "--extra-experimental-features", "nix-command",
                                                 "copy", "--to", "file://" + cache(), path(name).str()}},
                                       in_seconds(60));
    ASSERT_TRUE(done) << done.error().message;
  }
  std::string nar_of(const std::string& name) const {
    std::ifstream info(cache() + "/" + std::string(path(name).hash_part()) + ".narinfo");
    for (std::string line; std::getline(info, line);)
      if (line.starts_with("URL: ")) return cache() + "/" + line.substr(5);
    ADD_FAILURE() << "the cache has no " << name;
    return "";
  }

  Result<copy::CopyStats> copy_to(Host& host, const copy::ProgressSink& on_progress = {}) {
    copy::CopyOptions options = kOptions;
    options.substitute = true;
    return copy::copy_closure(host, kVerbs, deployment(), *top_, *local_, options, on_progress);
  }
  Result<copy::CopyStats> copy_all(agent::ImportOptions options = {}) {
    Host host(this->host(), {}, std::move(options));
    auto stats = copy_to(host, [this](const copy::CopyProgress& p) { last_ = p; });
    if (stats) {
      EXPECT_TRUE(on_host("nix-store --verify-path $(nix-store -qR " + top_->str() + ")"));
      EXPECT_EQ(stats->copied_paths + stats->substituted_paths, 4u);
      EXPECT_EQ(stats->copied_bytes + stats->substituted_bytes, nar_bytes_);
      EXPECT_EQ(last_.substituted_paths, stats->substituted_paths);
      EXPECT_EQ(last_.paths_done, stats->copied_paths);
      EXPECT_EQ(last_.bytes_sent, last_.bytes_total);
    }
    return stats;
  }

  std::optional<StorePath> top_;
  std::vector<nix::PathInfo> closure_;
  uint64_t nar_bytes_ = 0;
  copy::CopyProgress last_;
};

TEST_F(Substitutes, WhatTheHostsCacheHasIsNotSent) {
  fill_cache("top");
  configure("file://" + cache());
  const auto stats = copy_all();
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(stats->substituted_paths, 4u);
  EXPECT_LT(stats->wire_bytes, 2000u);
  EXPECT_EQ(stats->substitution_error, "");
  EXPECT_GT(last_.substituted_bytes, 0u);
}

TEST_F(Substitutes, WhatTheHostsCacheLacksIsSentAfterWhatItRefersTo) {
  fill_cache("big");
  configure("file://" + cache());
  const auto stats = copy_all();
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(stats->substituted_paths, 2u);
  EXPECT_EQ(stats->copied_paths, 2u);
  EXPECT_EQ(stats->substitution_error, "");
}

TEST_F(Substitutes, NobodyAsksACacheUnlessTheHostIsToFetch) {
  fill_cache("top");
  configure("file://" + cache());
  Host host(this->host(), {});
  const auto stats = copy::copy_closure(host, kVerbs, deployment(), *top_, *local_, kOptions, {});
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(stats->copied_paths, 4u);
  EXPECT_EQ(stats->substituted_paths, 0u);
}

TEST_F(Substitutes, WhatIsDamagedInTheCacheIsSentInstead) {
  fill_cache("top");
  configure("file://" + cache());
  std::ofstream(nar_of("big"), std::ios::binary) << "no archive";
  const auto stats = copy_all();
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(stats->substituted_paths, 1u);  // all but one refer to it
  EXPECT_NE(stats->substitution_error, "");
}

TEST_F(Substitutes, WhatTheCacheOnlyPromisesIsSentInstead) {
  fill_cache("top");
  configure("file://" + cache());
  std::filesystem::remove(nar_of("link"));
  const auto stats = copy_all();
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(stats->substituted_paths, 2u);
  EXPECT_NE(stats->substitution_error.find("-link"), std::string::npos) << stats->substitution_error;
}

TEST_F(Substitutes, WhatNobodyTrustedHasSignedIsSentInstead) {
  fill_cache("top");
  configure("file://" + cache(), true);
  const auto stats = copy_all();
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(stats->substituted_paths, 0u);
  EXPECT_NE(stats->substitution_error, "");
}

TEST_F(Substitutes, ACacheThatNeverAnswersHoldsUpNoCopy) {
  SlowCache slow(cache(), "/");
  configure(slow.url());
  agent::ImportOptions options;
  options.substituters_timeout = Millis(500);
  const auto stats = copy_all(options);
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(stats->substituted_paths, 0u);
  EXPECT_NE(stats->substitution_error, "");
  EXPECT_GT(slow.held_back(), 0u);
}

TEST_F(Substitutes, ACacheThatStallsIsGivenUpAndTheRestIsSent) {
  fill_cache("top");
  SlowCache slow(cache(), nar_of("big").substr(cache().size()));
  configure(slow.url());
  agent::ImportOptions options;
  options.idle_timeout = Millis(3000);
  const auto stats = copy_all(options);
  ASSERT_TRUE(stats) << stats.error().message;
  EXPECT_EQ(stats->substituted_paths, 1u);
  EXPECT_NE(stats->substitution_error, "");
  EXPECT_EQ(slow.held_back(), 1u);
}

TEST_F(Substitutes, AnImportWhoseControllerIsGoneFetchesNoMore) {
  fill_cache("top");
  SlowCache slow(cache(), nar_of("big").substr(cache().size()));
  configure(slow.url());
  Host host(this->host(), {});
  const auto stats = copy_to(host, [&](const copy::CopyProgress& p) {
    if (p.substituted_paths > 0) ::shutdown(host.io().get(), SHUT_RDWR);
  });
  EXPECT_FALSE(stats);  // and the host's threads have an end
}

TEST(BuildEvents, ADownloadThatIsTriedAgainOrStandsStillIsNoProgress) {
  constexpr uint64_t kCopyPath = 100, kDownload = 101, kProgress = 105;
  nix::BuildEvents events({});
  events.start(1, kCopyPath, {});
  events.start(2, kDownload, {});
  EXPECT_EQ(events.steps(), 0u);
  events.result(1, kProgress, {uint64_t{10}, uint64_t{100}});
  events.result(2, kProgress, {uint64_t{5}, uint64_t{50}});
  EXPECT_EQ(events.steps(), 2u);
  EXPECT_EQ(events.copied_bytes(), 10u) << "those of the store alone";
  for (int i = 0; i < 3; ++i) {
    events.result(2, kProgress, {uint64_t{5}, uint64_t{50}});
    events.stop(2);
    events.start(2, kDownload, {});
  }
  events.result(1, kProgress, {});
  events.result(1, kProgress, {std::string("10")});
  EXPECT_EQ(events.steps(), 2u + 2u) << "only what a try brings anew";
  events.stop(1);
  EXPECT_EQ(events.steps(), 5u) << "a path is done";
}

TEST(SendOrder, SendsAtOnceWhatRefersToNothingThatIsFetched) {
  const auto info = [](char name, const std::string& refers_to) {
    const auto path = [](char c) { return *StorePath::parse("/nix/store/" + std::string(32, c) + "-p"); };
    nix::PathInfo out{.path = path(name)};
    for (const char c : refers_to) out.references.push_back(path(c));
    return out;
  };
  const std::vector<nix::PathInfo> closure = {info('0', "0"), info('1', ""),   info('2', "01"),
                                              info('3', "1"), info('4', "24"), info('5', "3")};
  copy::IndexOfPath index_of;
  for (uint32_t i = 0; i < closure.size(); ++i) index_of.emplace(closure[i].path.str(), i);
  transfer::Missing missing{.indices = {0, 2, 3, 4, 5}};
  EXPECT_EQ(copy::SendOrder(closure, index_of, missing).now, missing.indices);
  missing.substituted = {0, 3};
  const copy::SendOrder order(closure, index_of, missing);
  EXPECT_EQ(order.now, std::vector<uint32_t>{});
  EXPECT_EQ(order.later, (std::vector<uint32_t>{2, 4, 5}));
  missing.substituted = {0};
  const copy::SendOrder other(closure, index_of, missing);
  EXPECT_EQ(other.now, (std::vector<uint32_t>{3, 5}));
  EXPECT_EQ(other.after(std::vector<uint32_t>{0}), (std::vector<uint32_t>{0, 2, 4}));
}

}  // namespace
// A host that says for ever that it fetches everything: each time `grows_by` bytes more.
class EndlessFetcher : public Connection {
 public:
  EndlessFetcher(size_t paths, uint64_t grows_by) : paths_(paths), grows_by_(grows_by) {}

  Result<std::unique_ptr<RemoteProcess>> exec(const std::string&, TimePoint) override {
    auto ends = sys::socket_pair();
    if (!ends) return ends.error();
    return std::unique_ptr<RemoteProcess>(
        std::make_unique<Process>(std::move(ends->first), std::move(ends->second), paths_, grows_by_));
  }
  std::string peer() const override { return "endless"; }

 private:
  class Process : public RemoteProcess {
   public:
    Process(sys::Fd ours, sys::Fd theirs, size_t paths, uint64_t grows_by)
        : io_(std::move(ours)),
          talker_([paths, grows_by, fd = std::move(theirs)] { talk(fd.get(), paths, grows_by); }) {}
    ~Process() override {
      io_.reset();
      talker_.join();
    }
    sys::Fd& io() override { return io_; }
    Result<RemoteExit> wait(TimePoint) override { return Error{ErrorKind::kTimedOut, "it never ends"}; }

   private:
    static bool say(int fd, transfer::FrameType type, const google::protobuf::MessageLite& message) {
      const std::string payload = message.SerializeAsString();
      std::string frame;
      transfer::put_frame_header(frame, type, payload.size());
      return sys::write_all(fd, frame + payload, in_seconds(5)).has_value();
    }
    static void talk(int fd, size_t paths, uint64_t grows_by) {
      static_cast<void>(sys::write_all(fd, transfer::kStreamMark, in_seconds(5)));
      v1::CopyMissing missing;
      missing.set_free_bytes(uint64_t{1} << 40);
      for (uint32_t i = 0; i < paths; ++i) {
        missing.add_path_index(i);
        missing.add_substituted_index(i);
      }
      v1::CopyFetched fetched;
      std::array<char, 64 << 10> heard;
      bool goes_on = say(fd, transfer::FrameType::kMissing, missing);
      while (goes_on) {
        fetched.set_nar_bytes(fetched.nar_bytes() + grows_by);
        goes_on = say(fd, transfer::FrameType::kFetched, fetched);
        const auto n = sys::read_some(fd, heard, sys::now() + Millis(20));
        goes_on = goes_on && (n ? *n > 0 : n.error().kind == ErrorKind::kTimedOut);
      }
    }

    sys::Fd io_;
    std::thread talker_;
  };

  const size_t paths_;
  const uint64_t grows_by_;
};

TEST_F(Substitutes, AHostThatSaysForEverThatItFetchesIsGivenUp) {
  copy::CopyOptions options{.substitute = true, .idle_timeout = Millis(400)};
  EndlessFetcher idle(closure_.size(), 0);
  const auto still = copy::copy_closure(idle, kVerbs, deployment(), *top_, *local_, options, {});
  ASSERT_FALSE(still);
  EXPECT_EQ(still.error().kind, ErrorKind::kTimedOut) << still.error().message;
  EndlessFetcher greedy(closure_.size(), 1 << 20);
  const auto more = copy::copy_closure(greedy, kVerbs, deployment(), *top_, *local_, options, {});
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().kind, ErrorKind::kInvalidInput) << more.error().message;
}

}  // namespace flurry
