#pragma once

// Real Nix in stores of our own, and a host that takes a copy.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <filesystem>
#include <fstream>

#include "agent/import.h"
#include "agent/import_lanes.h"
#include "cli/copy/copy.h"
#include "cli/copy/signing_key.h"
#include "core/nix/closure.h"
#include "core/nix/nar.h"
#include "core/sys/clock.h"
#include "core/sys/subprocess.h"
#include "core/transfer/stream_mark.h"
#include "fake_daemon.h"

namespace flurry {

inline TimePoint in_seconds(int seconds) { return sys::now() + Millis(1000 * seconds); }

inline constexpr const char* kExpression = R"(
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
    options_.run_dir = root_ + "/run";
    ::mkdir(options_.run_dir.c_str(), 0700);
    options_.idle_timeout = std::min(options_.idle_timeout, Millis(20'000));
    options_.connect = [this](TimePoint deadline) { return start_daemon(deadline); };
  }
  ~Host() override { hang_up(); }

  Result<std::unique_ptr<RemoteProcess>> exec(const std::string& command, TimePoint) override {
    if (command.starts_with("import-lane ")) return open_lane(command);
    hang_up();
    auto outer = sys::socket_pair();
    auto inner = sys::socket_pair();
    io_ = std::move(outer->first);
    near_ = std::move(outer->second);
    far_ = std::move(inner->first);
    import_ = std::move(inner->second);
    threads_.emplace_back([this] { pump(near_.get(), far_.get(), fault_); });
    threads_.emplace_back([this] { pump(far_.get(), near_.get(), {}); });
    // As behind a login shell that greets.
    static_cast<void>(sys::write_all(import_.get(), "Welcome!\n" + std::string(transfer::kStreamMark),
                                     sys::now() + Millis(1000)));
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
  // "import-lane ADDRESS NUMBER"
  Result<std::unique_ptr<RemoteProcess>> open_lane(const std::string& command) {
    if (lanes_refused_) return Error{ErrorKind::kRefused, "too many sessions"};
    struct LaneProcess : RemoteProcess {
      sys::Fd& io() override { return io_; }
      Result<RemoteExit> wait(TimePoint) override { return RemoteExit{0, "", ""}; }
      sys::Fd io_, far_;
      std::jthread thread_;
    };
    auto process = std::make_unique<LaneProcess>();
    auto ends = sys::socket_pair();
    if (lanes_cut_) ::shutdown(ends->second.get(), SHUT_RD);
    process->io_ = std::move(ends->first);
    process->far_ = std::move(ends->second);
    process->thread_ = std::jthread([fd = process->far_.get(), command, run_dir = options_.run_dir] {
      const size_t space = command.rfind(' ');
      static_cast<void>(agent::run_import_lane(run_dir, command.substr(12, space - 12),
                                               static_cast<uint8_t>(command[space + 1] - '0'), fd, fd));
    });
    ++lanes_;
    return std::unique_ptr<RemoteProcess>(std::move(process));
  }

  std::string peer() const override { return "root@fake"; }
  sys::Fd& io() override { return io_; }
  Result<RemoteExit> wait(TimePoint) override {
    return Error{ErrorKind::kUnreachable, "the connection died"};
  }

  size_t bytes_to_host() const { return passed_; }  // over the first channel
  size_t lanes() const { return lanes_; }
  void refuse_lanes() { lanes_refused_ = true; }
  // Nothing passes through them.
  void cut_lanes() { lanes_cut_ = true; }

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
      if (!sys::write_all(to, std::string_view(buffer.data(), keep), in_seconds(20))) {
        ::shutdown(from, SHUT_RD);  // as a channel whose program has ended
        break;
      }
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
  std::atomic<size_t> lanes_{0};
  bool lanes_refused_ = false;
  bool lanes_cut_ = false;
  Result<agent::ImportStats> result_ = agent::ImportStats{};
  std::vector<std::jthread> daemons_;  // one for each connection
  std::vector<std::thread> threads_;
};

inline const copy::AgentCommand kVerbs = [](const std::string& verb) { return verb; };
inline const copy::CopyOptions kOptions{.idle_timeout = Millis(20'000)};

inline DeploymentId deployment() { return *DeploymentId::parse("01ARYZ6S41TSV4RRFFQ69G5FAV"); }

}  // namespace flurry
