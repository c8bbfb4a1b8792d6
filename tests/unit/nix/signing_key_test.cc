#include "cli/copy/signing_key.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>
#include <string>

namespace flurry::copy {
namespace {

// The seed and public key of RFC 8032, section 7.1, test 1.
constexpr const char* kSecret =
    "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==";

Result<SigningKey> load(const std::string& text) {
  const std::string file = testing::TempDir() + "/flurry-key-" + std::to_string(::getpid());
  std::ofstream(file) << text;
  return SigningKey::load(file);
}

nix::PathInfo info() {
  return {.path = *StorePath::parse("/nix/store/" + std::string(32, 'a') + "-x"),
          .nar_hash = std::string(64, '0'),
          .nar_size = 120};
}

TEST(SigningKey, SignsUnderItsNameAndOnlyOnce) {
  const auto key = load("cache-1:" + std::string(kSecret) + "\n");
  ASSERT_TRUE(key) << key.error().message;
  nix::PathInfo path = info();
  path.signatures.push_back("other-1:AAAA");
  key->add_to(path);
  key->add_to(path);
  ASSERT_EQ(path.signatures.size(), 2u);
  EXPECT_EQ(path.signatures[1].substr(0, 8), "cache-1:");
  EXPECT_EQ(path.signatures[1].size(), 8 + 88u);
}

TEST(SigningKey, SignsBesideWhatAnotherKeyOfItsNameSigned) {
  const auto key = load("cache-1:" + std::string(kSecret));
  ASSERT_TRUE(key) << key.error().message;
  nix::PathInfo path = info();
  path.signatures.push_back("cache-1:" + std::string(86, 'A') + "==");
  key->add_to(path);
  ASSERT_EQ(path.signatures.size(), 2u);
  EXPECT_EQ(path.signatures[1], key->sign(path));
}

TEST(SigningKey, RefusesWhatIsNoneAndNeverQuotesIt) {
  const std::string secret = kSecret;
  std::string other_public = secret;
  other_public[60] = 'A';
  for (const std::string& text :
       {std::string(), secret, ":" + secret, "cache-1:" + secret.substr(4), "cache-1:" + other_public,
        "cache-1:" + secret + "x", "cache-1:" + std::string(88, '=')}) {
    const auto key = load(text);
    ASSERT_FALSE(key) << text;
    EXPECT_EQ(key.error().kind, ErrorKind::kInvalidInput);
    EXPECT_NE(key.error().message.find("flurry-key"), std::string::npos);
    EXPECT_EQ(key.error().message.find("nWGxne"), std::string::npos);
  }
}

TEST(SigningKey, NamesTheFileThatIsNotThere) {
  const auto key = SigningKey::load("/nowhere/key");
  ASSERT_FALSE(key);
  EXPECT_EQ(key.error().kind, ErrorKind::kInvalidInput);
  EXPECT_NE(key.error().message.find("/nowhere/key"), std::string::npos);
}

}  // namespace
}  // namespace flurry::copy
