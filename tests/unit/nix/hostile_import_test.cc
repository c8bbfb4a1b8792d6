// What a host's import makes of a controller that sends what none of ours would, with real Nix behind it.
#include <openssl/sha.h>

#include <array>

#include "cli/copy/convert.h"
#include "core/transfer/block.h"
#include "flurry/v1/copy.pb.h"
#include "stores.h"

namespace flurry {
namespace {

using transfer::FrameType;

std::string tokens(std::initializer_list<std::string_view> items) {
  std::string out;
  for (const auto item : items) nix::put_str(out, item);
  return out;
}

std::string file_node(std::string_view contents) {
  return tokens({"(", "type", "regular", "contents", contents, ")"});
}

std::string file_nar(std::string_view contents) { return tokens({"nix-archive-1"}) + file_node(contents); }

std::string entry(std::string_view name, const std::string& node) {
  return tokens({"entry", "(", "name", name, "node"}) + node + tokens({")"});
}

std::string directory_node(const std::string& entries) {
  return tokens({"(", "type", "directory"}) + entries + tokens({")"});
}

std::string directory_nar(const std::string& entries) {
  return tokens({"nix-archive-1"}) + directory_node(entries);
}

std::string link_node(std::string_view target) {
  return tokens({"(", "type", "symlink", "target", target, ")"});
}

std::string sha256(std::string_view bytes) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), digest.data());
  std::string hex;
  for (const unsigned char byte : digest) {
    hex += "0123456789abcdef"[byte >> 4];
    hex += "0123456789abcdef"[byte & 15];
  }
  return hex;
}

std::string path_of(char letter) {
  return "/nix/store/" + std::string(32, letter) + "-" + std::string(1, letter);
}

// One path as it is announced and sent; what is wrong with it is up to the test.
struct Sent {
  explicit Sent(std::string nar_to_send, char letter = 'a')
      : path(path_of(letter)),
        nar(std::move(nar_to_send)),
        announced_size(nar.size()),
        announced_hash(sha256(nar)) {}

  std::string path;
  std::string nar;
  uint64_t announced_size;
  std::string announced_hash;
  std::vector<uint32_t> references;
};

std::string hello_frame(size_t count, const std::string& top) {
  v1::CopyHello hello;
  hello.set_protocol_version(transfer::kCopyProtocolVersion);
  hello.set_deployment_id(deployment().str());
  hello.set_top_path(top);
  hello.set_path_count(static_cast<uint32_t>(count));
  return encode_frame(FrameType::kHello, hello.SerializeAsString());
}

std::string paths_frame(const std::vector<Sent>& paths) {
  v1::CopyPaths message;
  for (const auto& sent : paths) {
    auto* one = message.add_paths();
    one->set_path(sent.path);
    one->set_nar_bytes(sent.announced_size);
  }
  return encode_frame(FrameType::kPaths, message.SerializeAsString());
}

std::string info_frame(const Sent& sent, uint32_t index) {
  v1::CopyPathInfo info;
  info.set_path_index(index);
  info.set_nar_hash(sent.announced_hash);
  for (const uint32_t reference : sent.references) info.add_reference_index(reference);
  return encode_frame(FrameType::kPathInfo, info.SerializeAsString());
}

std::string nar_frames(const std::string& nar) {
  std::string out;
  for (size_t at = 0; at < nar.size(); at += 60'000)
    out += encode_frame(FrameType::kNarChunk, std::string_view(nar).substr(at, 60'000));
  return out;
}

// The whole of a conversation's one side, whatever the host answers.
std::string conversation(const std::vector<Sent>& paths) {
  std::string out = hello_frame(paths.size(), paths.back().path) + paths_frame(paths);
  for (uint32_t i = 0; i < paths.size(); ++i) out += info_frame(paths[i], i) + nar_frames(paths[i].nar);
  return out;
}

class HostileImport : public Stores {
 protected:
  // The error that the host answers; none where it says that all is done.
  std::optional<Error> send(const std::string& frames, agent::ImportOptions options = {}) {
    Host host(this->host(), {}, std::move(options));
    const auto process = host.exec("import", in_seconds(20));
    const int fd = (*process)->io().get();
    const std::jthread writer([&] {
      static_cast<void>(sys::write_all(fd, frames, in_seconds(20)));
      ::shutdown(fd, SHUT_WR);
    });
    transfer::FrameStream stream(fd, fd, Millis(20'000));
    stream.expect_mark();
    for (;;) {
      const auto frame = stream.receive();
      if (!frame || !*frame) return Error{ErrorKind::kUnreachable, "the host ended without a word"};
      if ((*frame)->type == FrameType::kDone) return std::nullopt;
      if ((*frame)->type == FrameType::kError) return copy::decode_failure((*frame)->payload);
    }
  }

  // Refused by an error that has `words` in it, and nothing is registered.
  void expect_refused(const std::string& frames, const std::string& words) {
    const auto error = send(frames);
    ASSERT_TRUE(error) << "accepted, for: " << words;
    EXPECT_NE(error->message.find(words), std::string::npos) << error->message;
    EXPECT_EQ(registered(), "");
  }

  // The same, before the store was given a byte.
  void expect_refused_at_once(const std::string& frames, const std::string& words) {
    expect_refused(frames, words);
    EXPECT_EQ(left(), "");
  }

  // What the host's database has, a line each.
  static std::string registered() {
    const auto paths = on_host("if [ -e /nix/store ]; then nix-store --dump-db; fi");
    EXPECT_TRUE(paths) << paths.error().message;
    return paths ? *paths : "?";
  }

  // What is in the host's store, registered or not, but for Nix's own files.
  static std::string left() {
    const auto names = on_host("ls -A /nix/store 2>/dev/null | grep -v '^\\.links$\\|\\.lock$' || true");
    EXPECT_TRUE(names) << names.error().message;
    return names ? *names : "?";
  }
};

TEST_F(HostileImport, OfWhatIsInOrderIsTaken) {
  Sent first(file_nar("first"), 'a');
  Sent second(directory_nar(entry("a", file_node("x")) + entry("b", link_node("a"))), 'b');
  second.references = {0, 1};
  const auto error = send(conversation({first, second}));
  EXPECT_FALSE(error) << error->message;
  EXPECT_EQ(left(), path_of('a').substr(11) + "\n" + path_of('b').substr(11) + "\n");
}

TEST_F(HostileImport, ANarWhoseNamesLeadElsewhereIsRefusedAndGoesNowhere) {
  const std::string x = file_node("x");
  const std::string big = entry("+big", file_node(std::string(300'000, 'y')));
  for (const std::string& before : {std::string(), big})
    for (const std::string& entries :
         {entry("..", x), entry(".", x), entry("", x), entry("a/b", x), entry("/etc", x),
          entry(std::string_view("a\0b", 3), x), entry("b", x) + entry("a", x), entry("a", x) + entry("a", x),
          entry("a", link_node("/etc")) + entry("a", directory_node(entry("evil", x))),
          entry("a", directory_node(entry("..", directory_node(entry("evil", x)))))}) {
      const Sent sent(directory_nar(before + entries));
      expect_refused(conversation({sent}), sent.path + ": malformed NAR");
      if (before.empty()) {
        EXPECT_EQ(left(), "");
      }
      EXPECT_FALSE(std::filesystem::exists(dir() + "/b/store/evil"));
      EXPECT_FALSE(std::filesystem::exists("/etc/evil"));
    }
}

TEST_F(HostileImport, ANarOfAnotherLengthThanAnnouncedIsRefused) {
  const std::string nar = file_nar(std::string(200'000, 'x'));
  for (const uint64_t less : {uint64_t{1}, uint64_t{8}, nar.size() - 1, nar.size()}) {
    Sent sent(nar);
    sent.announced_size = nar.size() - less;
    expect_refused(conversation({sent}), sent.path + ": malformed NAR");
  }
  Sent sent(nar);
  sent.announced_size = nar.size() + 8;
  expect_refused(conversation({sent}), "size mismatch");
  expect_refused(conversation({Sent(nar)}).substr(0, 150'000), "the stream ended");
  Sent longer(nar);
  longer.nar += "12345678";
  longer.announced_size += 8;
  expect_refused(conversation({longer}), "bytes after the end of the NAR");
  // What comes after its end is no path's.
  Sent two(nar);
  expect_refused(hello_frame(2, two.path) + paths_frame({two, Sent(nar, 'b')}) + info_frame(two, 0) +
                     encode_frame(FrameType::kNarChunk, ""),
                 "out of order");
}

TEST_F(HostileImport, ANarOfAnotherHashThanAnnouncedIsNotRegisteredNorStays) {
  const Sent good(directory_nar(entry("a", file_node(std::string(200'000, 'x')))));
  Sent sent = good;
  sent.announced_hash[0] = sent.announced_hash[0] == '0' ? '1' : '0';
  expect_refused(conversation({sent}), "hash mismatch");
  for (const std::string& hash :
       {std::string(), std::string(63, '0'), std::string(64, 'g'), std::string(64, 'A')}) {
    sent.announced_hash = hash;
    expect_refused(conversation({sent}), "bad NAR hash");
  }
  // Nix leaves what it had unpacked to whoever comes next.
  ASSERT_TRUE(on_host("nix-store --gc"));
  EXPECT_EQ(left(), "");
  sent.announced_hash = std::string(64, '0');
  sent.nar = directory_nar(entry("b", file_node(std::string(200'000, 'x'))));
  expect_refused(conversation({sent}), "hash mismatch");
  EXPECT_FALSE(send(conversation({good})));
  const auto verified = on_host("nix-store --verify-path " + good.path);
  EXPECT_TRUE(verified) << verified.error().message;
}

TEST_F(HostileImport, APathThatIsNoneOrAnotherThanAskedForIsRefused) {
  const std::string hash(32, 'a');
  for (const std::string& path :
       std::vector<std::string>{"", "/etc/passwd", "/nix/store/../" + hash + "-a",
                                "/nix/store/" + hash + "-a/b", "/nix/store/" + hash, "/nix/store/.links",
                                "/nix/store//" + hash + "-a", hash + "-a", "/nix/store/" + hash + "-a\n",
                                "/nix/store/" + hash + "-..", "/nix/store/" + std::string(32, 'e') + "-a"}) {
    Sent sent(file_nar("x"));
    sent.path = path;
    // Announced as the closure's top too, so that nothing but its shape speaks against it.
    expect_refused_at_once(hello_frame(1, path) + paths_frame({sent}), "store path");
  }
  const Sent a(file_nar("x"), 'a');
  Sent b(file_nar("y"), 'b');
  b.references = {0};
  const std::string opening = hello_frame(2, b.path) + paths_frame({a, b});
  expect_refused_at_once(opening + info_frame(b, 1) + nar_frames(b.nar), "before a path that it refers to");
  expect_refused_at_once(opening + info_frame(a, 2) + nar_frames(a.nar), "not in the closure");
  expect_refused_at_once(hello_frame(1, b.path) + paths_frame({a}), "not in its own closure");
  expect_refused_at_once(hello_frame(2, a.path) + paths_frame({a, a}), "twice in the closure");
  const auto again = send(opening + info_frame(a, 0) + nar_frames(a.nar) + info_frame(a, 0));
  ASSERT_TRUE(again);
  EXPECT_NE(again->message.find("a path that was not to be sent"), std::string::npos) << again->message;
}

TEST_F(HostileImport, AReferenceToWhatComesLaterOrIsNotThereIsRefused) {
  for (const uint32_t reference : {1u, 2u, 1000u, 0xffffffffu}) {
    Sent first(file_nar("first"), 'a');
    first.references = {reference};
    expect_refused_at_once(conversation({first, Sent(file_nar("second"), 'b')}),
                           "refers to a path that comes after it");
  }
}

TEST_F(HostileImport, AClosureOfAnotherSizeThanAnnouncedIsRefused) {
  const std::vector<Sent> three = {Sent(file_nar("x"), 'a'), Sent(file_nar("x"), 'b'),
                                   Sent(file_nar("x"), 'c')};
  const std::string top = three[0].path;
  expect_refused_at_once(hello_frame(2, top) + paths_frame(three), "another number of paths");
  expect_refused_at_once(hello_frame(4, top) + paths_frame(three) + paths_frame(three),
                         "another number of paths");
  expect_refused_at_once(hello_frame(4, top) + paths_frame(three) + info_frame(three[0], 0), "out of order");
  expect_refused_at_once(hello_frame(4, top) + paths_frame(three) + paths_frame({}),
                         "another number of paths");
  expect_refused_at_once(hello_frame(0, top) + paths_frame(three), "a closure of 0 paths");
  expect_refused_at_once(hello_frame(transfer::kClosurePathsMax + 1, top), "a closure of 200001 paths");
}

TEST_F(HostileImport, SizesThatNoDiskHasRoomForEndItBeforeAnyNar) {
  Sent sent(file_nar("x"));
  for (const uint64_t size : {transfer::kNarSizeMax + 1, uint64_t{1} << 63, ~uint64_t{0}}) {
    sent.announced_size = size;
    expect_refused_at_once(conversation({sent}), "has a NAR of " + std::to_string(size) + " bytes");
  }
  // Each may be, and their sum doesn't wrap around.
  std::vector<Sent> many;
  for (const char letter : std::string_view("0123456789abcdfghijklmnpqrsvwxyz"))
    for (const char other : std::string_view("0123456789abcdfghijklmnpqrsvwxyz")) {
      many.emplace_back(file_nar("x"), letter);
      many.back().path[12] = other;
      many.back().announced_size = transfer::kNarSizeMax;
    }
  const auto error = send(hello_frame(many.size(), many[0].path) + paths_frame(many));
  ASSERT_TRUE(error);
  EXPECT_EQ(error->kind, ErrorKind::kNoSpace) << error->message;
}

TEST_F(HostileImport, NoMoreIsUnpackedThanWasAnnouncedOrABlockMayHold) {
  // Within one path: the next one's announcement gives this one no room.
  Sent small(file_nar("x"), 'a');
  const Sent large(file_nar(std::string(500'000, 'x')), 'b');
  small.nar = large.nar;
  expect_refused(conversation({small, large}), small.path + ": malformed NAR");
  transfer::BlockPacker packer;
  const std::string content = nar_frames(large.nar);
  const std::string packed(packer.pack(content, 3));
  ASSERT_FALSE(packed.empty());
  const std::string opening = hello_frame(1, large.path) + paths_frame({large}) + info_frame(large, 0);
  for (const uint32_t size : {0u, 1u, 100'000u, (1u << 20) + 1, 0xffffffffu}) {
    std::string lying = packed;
    for (size_t i = 0; i < 4; ++i) lying[i] = static_cast<char>(size >> (8 * i));
    expect_refused(opening + encode_frame(FrameType::kBlock, lying), "block");
  }
  const auto error = send(opening + encode_frame(FrameType::kBlock, packed));
  EXPECT_FALSE(error) << error->message;
}

TEST_F(HostileImport, ARefusalByTheStoreIsNotToldOfThePathThatThePolicyRefusedAfterIt) {
  const auto wrong = [](Sent sent) {
    sent.announced_hash = std::string(64, '0');
    return sent;
  };
  const Sent first = wrong(Sent(file_nar("first"), 'a'));
  const Sent second(file_nar("second"), 'b');
  const std::string file = dir() + "/signing-key";
  ASSERT_TRUE(sys::run_checked(
      {.argv = {"nix-store", "--generate-binary-cache-key", "fleet-1", file, file + ".public"}},
      in_seconds(20)));
  nix::PathInfo info{.path = *StorePath::parse(first.path),
                     .nar_hash = first.announced_hash,
                     .nar_size = first.announced_size};
  copy::SigningKey::load(file)->add_to(info);
  std::string public_key;
  std::ifstream(file + ".public") >> public_key;
  agent::ImportOptions options;
  options.policy_file = dir() + "/signed-only.json";
  std::ofstream(options.policy_file) << R"({"requireSignatures": true, "trustedPublicKeys": [")" << public_key
                                     << "\"]}";
  const std::string frames =
      hello_frame(2, second.path) + paths_frame({first, second}) +
      encode_frame(FrameType::kPathInfo, copy::encode_path_info(info, {{first.path, 0}})) +
      nar_frames(first.nar) + info_frame(second, 1) + nar_frames(second.nar);
  const auto error = send(frames, options);
  ASSERT_TRUE(error);
  EXPECT_NE(error->message.find("hash mismatch"), std::string::npos) << error->message;
  EXPECT_TRUE(error->message.starts_with(first.path)) << error->message;
  EXPECT_EQ(registered(), "");
}

}  // namespace
}  // namespace flurry
