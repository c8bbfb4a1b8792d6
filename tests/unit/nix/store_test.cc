// The client, the copy and the import against real Nix, in stores of our own.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "agent/import.h"
#include "cli/copy/copy.h"
#include "cli/copy/signing_key.h"
#include "core/nix/closure.h"
#include "core/nix/nar.h"
#include "core/sys/subprocess.h"
#include "fake_daemon.h"

namespace flurry {
namespace {

TimePoint in_seconds(int seconds) { return sys::now() + Millis(1000 * seconds); }

constexpr const char* kExpression = R"(
let mk = name: text: derivation {
      inherit name; system = builtins.currentSystem; builder = "/bin/busybox";
      args = [ "sh" "-c" text ]; PATH = "/bin:/usr/bin"; };
    lib = mk "lib" "/bin/busybox mkdir $out; echo hello > $out/lib; echo self $out > $out/self";
    big = mk "big" "/bin/busybox dd if=/dev/urandom of=$out bs=1000 count=2000 2>/dev/null; echo ${lib} >> $out; chmod +x $out";
    link = mk "link" "/bin/busybox ln -s ${big} $out";
    bad = mk "bad" "echo last words; exit 3";
in { top = mk "top" "/bin/busybox mkdir $out; echo ${lib} ${big} ${link} > $out/refs";
     inherit bad; after = mk "after" "echo ${bad} > $out"; }
)";

// Our own mount namespace with a fresh /nix, the controller's; and below /tmp a second one, the host's.
class Stores : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    if (::geteuid() != 0) {
      why_not_ = "needs root for a store of its own";
      return;
    }
    for (const char* tool : {"nix-daemon", "unshare", "busybox"})
      if (!sys::run({.argv = {tool, "--help"}}, in_seconds(10))) {
        why_not_ = std::string("no ") + tool;
        return;
      }
    char name[] = "/tmp/flurry-store-XXXXXX";
    dir() = ::mkdtemp(name);
    for (const char* part : {"/a", "/b", "/conf"}) std::filesystem::create_directories(dir() + part);
    std::ofstream(dir() + "/conf/nix.conf") << "build-users-group =\nsandbox = false\nsubstituters =\n";
    ::setenv("NIX_CONF_DIR", (dir() + "/conf").c_str(), 1);
    ::unsetenv("NIX_REMOTE");
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0 ||
        ::mount((dir() + "/a").c_str(), "/nix", nullptr, MS_BIND, nullptr) != 0) {
      why_not_ = "no mount namespace, or no /nix to mount on";
      return;
    }
    std::ofstream(dir() + "/expr.nix") << kExpression;
  }

  static void TearDownTestSuite() {
    ::umount("/nix");
    if (!dir().empty()) static_cast<void>(sys::run({.argv = {"rm", "-rf", dir()}}, in_seconds(60)));
  }

  void SetUp() override {
    if (!why_not_.empty()) GTEST_SKIP() << why_not_;
    static_cast<void>(sys::run({.argv = {"sh", "-c", "rm -rf " + host() + "/*"}}, in_seconds(60)));
    auto local = nix::Daemon::connect(in_seconds(10));
    ASSERT_TRUE(local) << local.error().message;
    local_.emplace(std::move(*local));
    ASSERT_TRUE(local_->set_options({}, in_seconds(10)));
  }

  static std::string derivation(const std::string& attribute) {
    auto drv =
        sys::run_checked({.argv = {"nix-instantiate", dir() + "/expr.nix", "-A", attribute}}, in_seconds(30));
    EXPECT_TRUE(drv) << drv.error().message;
    return drv ? drv->substr(0, drv->find('\n')) : "";
  }

  StorePath build_top() {
    const std::vector<std::string> targets = {derivation("top") + "!*"};
    auto results = local_->build_paths_with_results(targets, {}, in_seconds(60));
    EXPECT_TRUE(results) << results.error().message;
    EXPECT_EQ(results->size(), 1u);
    EXPECT_TRUE(results->front().is_success()) << results->front().error;
    const auto outputs =
        local_->query_derivation_output_map(*StorePath::parse(derivation("top")), in_seconds(10));
    EXPECT_TRUE(outputs);
    return *outputs->at("out");
  }

  // A command that sees the host's store as /nix.
  static Result<std::string> on_host(const std::string& command) {
    return sys::run_checked(
        {.argv = {"unshare", "-m", "sh", "-c", "mount --bind " + host() + " /nix && " + command}},
        in_seconds(60));
  }

  static std::string& dir() {
    static std::string path;
    return path;
  }
  static std::string host() { return dir() + "/b"; }

  static inline std::string why_not_;
  std::optional<nix::Daemon> local_;
};

// What the wire to the host does to the bytes for it.
struct Fault {
  size_t cut_at = SIZE_MAX;
  size_t flip_at = SIZE_MAX;
};

// The host: its daemon in its own namespace, and an import that runs as a thread.
class Host : public Connection, public RemoteProcess {
 public:
  Host(std::string root, Fault fault, agent::ImportOptions options = {})
      : root_(std::move(root)), fault_(fault), options_(std::move(options)) {
    options_.store_dir = root_ + "/store";
    options_.state_dir = root_ + "/var/nix";
    options_.idle_timeout = Millis(20'000);
    options_.connect = [this](TimePoint deadline) { return start_daemon(deadline); };
  }
  ~Host() override { hang_up(); }

  Result<std::unique_ptr<RemoteProcess>> exec(const std::string&, TimePoint) override {
    hang_up();
    auto outer = sys::socket_pair();
    auto inner = sys::socket_pair();
    io_ = std::move(outer->first);
    near_ = std::move(outer->second);
    far_ = std::move(inner->first);
    import_ = std::move(inner->second);
    threads_.emplace_back([this] { pump(near_.get(), far_.get(), fault_); });
    threads_.emplace_back([this] { pump(far_.get(), near_.get(), {}); });
    threads_.emplace_back([this] {
      result_ = agent::run_import(import_.get(), import_.get(), options_);
      ::shutdown(import_.get(), SHUT_RDWR);
    });
    struct Borrowed : RemoteProcess {
      explicit Borrowed(Host& host) : host_(host) {}
      sys::Fd& io() override { return host_.io(); }
      Result<RemoteExit> wait(TimePoint deadline) override { return host_.wait(deadline); }
      Host& host_;
    };
    return std::unique_ptr<RemoteProcess>(new Borrowed(*this));
  }
  std::string peer() const override { return "root@fake"; }
  sys::Fd& io() override { return io_; }
  Result<RemoteExit> wait(TimePoint) override {
    return Error{ErrorKind::kUnreachable, "the connection died"};
  }

  size_t bytes_to_host() const { return passed_; }

 private:
  Result<nix::Daemon> start_daemon(TimePoint deadline) {
    // `nix-daemon --stdio` in the host's namespace, as a child that ends with its stream.
    auto ends = sys::socket_pair();
    const int fd = ends->second.get();
    threads_daemon_fd_ = std::move(ends->second);
    const std::string command = "mount --bind " + root_ + " /nix && exec nix-daemon --stdio <&" +
                                std::to_string(fd) + " >&" + std::to_string(fd);
    ::fcntl(fd, F_SETFD, 0);
    daemons_.emplace_back([command] {
      static_cast<void>(sys::run({.argv = {"unshare", "-m", "bash", "-c", command}}, in_seconds(60)));
    });
    auto daemon = nix::Daemon::open(std::move(ends->first), deadline);
    threads_daemon_fd_.reset();
    return daemon;
  }

  // One conversation after the other.
  void hang_up() {
    io_.reset();
    for (auto& thread : threads_) thread.join();
    threads_.clear();
  }

  void pump(int from, int to, Fault fault) {
    std::vector<char> buffer(16 << 10);
    for (size_t at = 0;;) {
      const ssize_t n = ::read(from, buffer.data(), buffer.size());
      if (n <= 0) break;
      const size_t keep = std::min<size_t>(static_cast<size_t>(n), fault.cut_at - at);
      if (fault.flip_at >= at && fault.flip_at < at + keep) buffer[fault.flip_at - at] ^= 1;
      if (!sys::write_all(to, std::string_view(buffer.data(), keep), in_seconds(20))) break;
      at += keep;
      if (from == near_.get()) passed_ = at;
      if (at >= fault.cut_at) {
        ::shutdown(from, SHUT_RDWR);
        break;
      }
    }
    ::shutdown(to, SHUT_WR);
  }

  std::string root_;
  Fault fault_;
  agent::ImportOptions options_;
  sys::Fd io_, near_, far_, import_, threads_daemon_fd_;
  std::atomic<size_t> passed_{0};
  Result<agent::ImportStats> result_ = agent::ImportStats{};
  std::vector<std::jthread> daemons_;  // one for each connection
  std::vector<std::thread> threads_;
};

const copy::CopyOptions kOptions{.idle_timeout = Millis(20'000)};

DeploymentId deployment() { return *DeploymentId::parse("01ARYZ6S41TSV4RRFFQ69G5FAV"); }

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

TEST_F(Stores, CopyResumesAfterACutAtAnyPlaceAndVerifies) {
  const StorePath top = build_top();
  size_t total = 0;
  for (const size_t cut : {size_t{3}, size_t{300}, size_t{1500}, size_t{200'000}, size_t{1'900'000}}) {
    Host host(this->host(), {.cut_at = cut});
    const auto stats = copy::copy_closure(host, "import", deployment(), top, *local_, kOptions, {});
    ASSERT_FALSE(stats) << cut;
    EXPECT_EQ(stats.error().kind, ErrorKind::kUnreachable) << stats.error().message;
    total = std::max(total, host.bytes_to_host());
  }
  Host host(this->host(), {});
  copy::CopyProgress last;
  const auto stats = copy::copy_closure(host, "import", deployment(), top, *local_, kOptions,
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
  const auto nothing = copy::copy_closure(again, "import", deployment(), top, *local_, kOptions, {});
  ASSERT_TRUE(nothing) << nothing.error().message;
  EXPECT_EQ(nothing->copied_paths, 0u);
}

TEST_F(Stores, AFlippedByteIsAHashMismatchAndRegistersNothing) {
  const StorePath top = build_top();
  Host host(this->host(), {.flip_at = 1'000'000});  // within the contents of "big"
  const auto stats = copy::copy_closure(host, "import", deployment(), top, *local_, kOptions, {});
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
    const auto first = copy::copy_closure(host, "import", deployment(), *before_, *local_, kOptions, {});
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
    auto stats = copy::copy_closure(host, "import", deployment(), *after_, *local_, options,
                                    [this](const copy::CopyProgress& p) { last_ = p; });
    bytes_ = host.bytes_to_host();
    const auto verified = on_host("nix-store --verify-path $(nix-store -qR " + after_->str() + ")");
    EXPECT_TRUE(verified) << verified.error().message;
    return stats;
  }

  std::optional<StorePath> before_, after_;
  copy::CopyProgress last_;
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
  const auto stats = copy::copy_closure(host, "import", deployment(), build_top(), *local_, kOptions, {});
  ASSERT_FALSE(stats);
  EXPECT_EQ(stats.error().kind, ErrorKind::kNoSpace) << stats.error().message;
  EXPECT_LT(host.bytes_to_host(), 2000u);
}

}  // namespace
}  // namespace flurry
