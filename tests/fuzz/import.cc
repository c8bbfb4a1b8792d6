// The host's side of a copy from a hostile controller, into a store that keeps what it is given: only whole
// paths are registered, each after all it refers to, and a copy that was refused holds nothing.
#include "agent/import.h"

#include <fcntl.h>
#include <sys/socket.h>

#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <thread>

#include "core/nix/nar.h"
#include "core/nix/operations.h"
#include "core/nix/wire.h"
#include "core/sys/clock.h"
#include "core/sys/fd.h"
#include "core/transfer/frame.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"

namespace flurry::fuzz {
namespace {

constexpr Millis kPatience{60'000};  // never needed: all that will come is there, and then the end

constexpr const char* kBase = "/nix/store/00000000000000000000000000000000-base";

// What is in the store, and what its substituters have. Any thread.
class Shelf {
 public:
  explicit Shelf(unsigned salt) : salt_(salt) {}

  size_t added() const { return count(added_); }
  size_t fetched() const { return count(fetched_); }
  bool is_valid(const std::string& path) const {
    const std::lock_guard lock(mutex_);
    // Some paths are there from the start.
    return added_.contains(path) || fetched_.contains(path) ||
           (salt_ != 0 && (static_cast<unsigned char>(path[11]) + salt_) % 3 == 0);
  }
  void add(const std::string& path) {
    const std::lock_guard lock(mutex_);
    added_.insert(path);
  }
  bool is_promised(const std::string& path) const {
    return !is_valid(path) && (static_cast<unsigned char>(path[12]) ^ salt_) % 2 == 0;
  }
  // False: it was promised, and isn't there.
  bool fetch(const std::string& path) {
    if ((salt_ & 16) != 0) return false;
    const std::lock_guard lock(mutex_);
    fetched_.insert(path);
    return true;
  }

 private:
  size_t count(const std::set<std::string>& paths) const {
    const std::lock_guard lock(mutex_);
    return paths.size();
  }

  const unsigned salt_;
  mutable std::mutex mutex_;
  std::set<std::string> added_, fetched_;
};

// The daemon's side of the worker protocol 1.35, for what an import asks on one connection.
class Store {
 public:
  Store(Shelf& shelf, int fd) : shelf_(shelf), fd_(fd) {}

  void serve() {
    u64();
    u64();  // magic and version
    say({0x6478696f, 0x123});
    u64();
    u64();  // affinity, reserve
    std::string hello;
    nix::put_str(hello, "2.18");
    send(hello);
    say({1, kLast});
    while (const uint64_t operation = u64()) answer(operation);
  }

 private:
  static constexpr uint64_t kLast = 0x616c7473;
  static constexpr uint64_t kError = 0x63787470;

  void answer(uint64_t operation) {
    if (operation == nix::kOpAddTempRoot) {
      text();
      say({kLast, 1});
    } else if (operation == nix::kOpIsValidPath) {
      say({kLast, shelf_.is_valid(text())});
    } else if (operation == nix::kOpQueryValidPaths) {
      std::vector<std::string> valid;
      for (const auto& path : texts())
        if (shelf_.is_valid(path)) valid.push_back(path);
      u64();
      say({kLast});
      std::string reply;
      nix::put_strs(reply, valid);
      send(reply);
    } else if (operation == nix::kOpQueryPathInfo) {
      tell_of(text());
    } else if (operation == nix::kOpSetOptions) {
      for (int i = 0; i < 12; ++i) u64();
      FLURRY_CHECK(u64() == 0);  // settings
      say({kLast});
    } else if (operation == nix::kOpQueryMissing) {
      tell_promised();
    } else if (operation == nix::kOpBuildPaths) {
      fetch();
    } else {
      FLURRY_CHECK(operation == nix::kOpAddToStoreNar);
      add();
    }
  }

  // There is one base.
  void tell_of(const std::string& path) {
    if (path != kBase) return say({kLast, 0});
    say({kLast, 1});
    std::string reply;
    nix::put_str(reply, "");
    nix::put_str(reply, std::string(64, '0'));
    nix::put_strs(reply, std::vector<std::string>());
    send(reply);
    say({0, 256, 0, 0});
    std::string none;
    nix::put_str(none, "");
    send(none);
  }

  void tell_promised() {
    std::vector<std::string> promised;
    for (const auto& path : texts())
      if (shelf_.is_promised(path)) promised.push_back(path);
    say({kLast, 0});  // nothing to build
    std::string reply;
    nix::put_strs(reply, promised);
    send(reply);
    say({0, 0, 0});  // unknown ones, bytes
  }

  void fetch() {
    bool has_all = true;
    for (const auto& path : texts()) {
      FLURRY_CHECK(shelf_.is_promised(path));
      has_all = shelf_.fetch(path) && has_all;
    }
    u64();  // mode
    if (!has_all) return refuse("not there");
    say({kLast, 1});
  }

  void add() {
    const std::string path = text();
    text();  // deriver
    FLURRY_CHECK(text().size() == 64);
    const auto references = texts();
    u64();
    const uint64_t size = u64();
    u64();
    texts();  // signatures
    text();   // content address
    u64();
    u64();
    nix::NarParser parser(size);
    std::string nar;
    while (const uint64_t frame = u64()) nar += bytes(frame);
    const auto taken = parser.feed(nar);
    if (taken && parser.is_done() && *taken == nar.size() && nar.size() == size) {
      for (const auto& reference : references) FLURRY_CHECK(reference == path || shelf_.is_valid(reference));
      FLURRY_CHECK(!shelf_.is_valid(path));
      shelf_.add(path);
      return say({kLast});
    }
    refuse("bad archive");
  }

  void refuse(const char* why) {
    std::string refusal;
    nix::put_u64(refusal, kError);
    nix::put_str(refusal, "Error");
    nix::put_u64(refusal, 0);
    nix::put_str(refusal, "Error");
    nix::put_str(refusal, why);
    nix::put_u64(refusal, 0);
    nix::put_u64(refusal, 0);
    send(refusal);
  }

  // Past the end of the stream there are zeros.
  std::string bytes(size_t size) {
    std::string out(size, '\0');
    for (size_t have = 0; have < size;) {
      const auto n = sys::read_some(fd_, std::span(out).subspan(have), sys::now() + kPatience);
      if (!n || *n == 0) break;
      have += *n;
    }
    return out;
  }
  uint64_t u64() { return nix::load_u64(bytes(8).data()); }
  std::string text() {
    const size_t size = u64();
    std::string out = bytes(size);
    bytes(nix::padding_of(size));
    return out;
  }
  std::vector<std::string> texts() {
    std::vector<std::string> out(u64());
    for (auto& one : out) one = text();
    return out;
  }
  void send(std::string_view what) { static_cast<void>(sys::write_all(fd_, what, sys::now() + kPatience)); }
  void say(std::initializer_list<uint64_t> numbers) {
    std::string out;
    for (const uint64_t number : numbers) nix::put_u64(out, number);
    send(out);
  }

  Shelf& shelf_;
  const int fd_;
};

// The type of the last frame that the import sent.
transfer::FrameType last_answer(int fd) {
  std::string answers(1 << 20, '\0');
  size_t have = 0;
  for (ssize_t n = 0; (n = ::recv(fd, answers.data() + have, answers.size() - have, 0)) > 0;)
    have += static_cast<size_t>(n);
  std::string_view rest = std::string_view(answers).substr(0, have);
  auto last = transfer::FrameType::kHello;
  while (!rest.empty()) {
    const auto frame = transfer::decode_frame(rest);
    FLURRY_CHECK(frame && *frame);
    last = (*frame)->type;
    rest.remove_prefix(transfer::kFrameHeaderSize + (*frame)->payload.size());
  }
  return last;
}

}  // namespace

void run_one(std::string_view input_bytes) {
  static const Folder folder;
  Input input(input_bytes);
  Shelf store(input.byte());
  auto controller = sys::socket_pair();
  FLURRY_CHECK(controller);
  FLURRY_CHECK(sys::write_all(controller->second.get(), input.rest(), sys::now() + kPatience));
  ::shutdown(controller->second.get(), SHUT_WR);

  std::ofstream(folder.path() + std::string(kBase).substr(10)) << "what the host has had before";
  std::mutex servers_mutex;
  std::vector<std::thread> servers;
  agent::ImportOptions options{
      .store_dir = folder.path(), .state_dir = folder.path(), .space_margin_bytes = 0};
  options.idle_timeout = kPatience;
  options.connect = [&](TimePoint deadline) -> Result<nix::Daemon> {
    ASSIGN_OR_RETURN(auto ends, sys::socket_pair());
    // The store's, the one that fetches, the one that knows what came of that, and the one for bases.
    const std::lock_guard lock(servers_mutex);
    FLURRY_CHECK(servers.size() < 4);
    servers.emplace_back([&store, fd = std::move(ends.second)] { Store(store, fd.get()).serve(); });
    return nix::Daemon::open(std::move(ends.first), deadline);
  };
  const auto stats = agent::run_import(controller->first.get(), controller->first.get(), options);
  for (auto& server : servers) server.join();
  controller->first.reset();

  const std::string roots = folder.path() + "/gcroots";
  const bool is_held = std::filesystem::exists(roots) && !std::filesystem::is_empty(roots + "/flurry");
  const auto last = last_answer(controller->second.get());
  const bool is_answer = stats && last == transfer::FrameType::kMissing;  // to a mere question
  FLURRY_CHECK(is_held == (stats && !is_answer));
  FLURRY_CHECK(is_answer || last == (stats ? transfer::FrameType::kDone : transfer::FrameType::kError));
  if (is_answer) {
    FLURRY_CHECK(store.added() + store.fetched() == 0);
  } else if (stats) {
    FLURRY_CHECK(stats->paths == store.added());
    FLURRY_CHECK(stats->substituted_paths == store.fetched());
    for (const auto& link : std::filesystem::directory_iterator(roots + "/flurry"))
      FLURRY_CHECK(store.is_valid(std::filesystem::read_symlink(link.path()).string()));
    std::filesystem::remove_all(roots);
  } else {
    FLURRY_CHECK(stats.error().kind != ErrorKind::kTimedOut);
    check_told(stats.error(), input_bytes.size());
  }
}

}  // namespace flurry::fuzz
