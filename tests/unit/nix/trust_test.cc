// Signatures, and what a host takes.
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "agent/import_policy.h"
#include "core/nix/signature.h"
#include "stores.h"

namespace flurry {
namespace {

// RFC 8032, section 7.1, test 1: seed with public key, and the public key.
constexpr const char* kSecret =
    "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2DXWpgBgrEKt9VL/tPJZAc6DuFy89qmIyWvAhpo9wdRGg==";
constexpr const char* kPublic = "fleet-1:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

copy::SigningKey secret() {
  const std::string file = testing::TempDir() + "/flurry-trust-key-" + std::to_string(::getpid());
  std::ofstream(file) << "fleet-1:" << kSecret;
  return *copy::SigningKey::load(file);
}

nix::PathInfo signed_info() {
  nix::PathInfo info{.path = *StorePath::parse("/nix/store/" + std::string(32, 'a') + "-x"),
                     .nar_hash = std::string(64, '5'),
                     .nar_size = 120,
                     .references = {*StorePath::parse("/nix/store/" + std::string(32, 'b') + "-y"),
                                    *StorePath::parse("/nix/store/" + std::string(32, 'a') + "-x")}};
  secret().add_to(info);
  return info;
}

TEST(Signature, IsGoodForExactlyWhatWasSigned) {
  const auto key = nix::PublicKey::parse(kPublic);
  ASSERT_TRUE(key) << key.error().message;
  const auto info = signed_info();
  const std::string signature = info.signatures[0];
  EXPECT_TRUE(key->verifies(info, signature));
  auto other = info;
  other.path = *StorePath::parse("/nix/store/" + std::string(32, 'a') + "-z");
  EXPECT_FALSE(key->verifies(other, signature));
  other = info;
  other.nar_hash[63] = '4';
  EXPECT_FALSE(key->verifies(other, signature));
  other = info;
  other.nar_size = 121;
  EXPECT_FALSE(key->verifies(other, signature));
  other = info;
  other.references.pop_back();
  EXPECT_FALSE(key->verifies(other, signature));
  other = info;
  std::swap(other.references[0], other.references[1]);
  EXPECT_TRUE(key->verifies(other, signature)) << "their order says nothing";
}

TEST(Signature, OfAnotherKeyOrNameOrShapeIsNone) {
  const auto info = signed_info();
  const std::string good = info.signatures[0];
  EXPECT_FALSE(nix::PublicKey::parse("fleet-2" + std::string(kPublic).substr(7))->verifies(info, good));
  std::string other_key = kPublic;
  other_key[12] = other_key[12] == 'A' ? 'B' : 'A';
  EXPECT_FALSE(nix::PublicKey::parse(other_key)->verifies(info, good));
  const auto key = nix::PublicKey::parse(kPublic);
  for (size_t i = 0; i < good.size(); ++i) {
    std::string bad = good;
    // The last digit before the padding holds bits that count for nothing.
    if (i == good.size() - 3) continue;
    bad[i] = bad[i] == 'A' ? 'B' : 'A';
    EXPECT_FALSE(key->verifies(info, bad)) << i;
    EXPECT_FALSE(key->verifies(info, good.substr(0, i))) << i;
  }
  EXPECT_FALSE(key->verifies(info, good + "A"));
  EXPECT_FALSE(key->verifies(info, "fleet-1:" + std::string(88, '=')));
}

TEST(Signature, APublicKeyIsANameAnd32Bytes) {
  const std::string good = kPublic;
  for (const std::string& bad :
       {std::string(), std::string("fleet-1"), std::string("fleet-1:"), good.substr(7), good + "=",
        good.substr(0, good.size() - 1), "fleet-1:" + std::string(44, '='), "fleet-1:" + std::string(44, '!'),
        std::string(300, 'n') + good.substr(7), std::string("fleet-1:") + kSecret})
    EXPECT_FALSE(nix::PublicKey::parse(bad)) << bad;
  EXPECT_EQ(nix::PublicKey::parse(good)->name(), "fleet-1");
}

Result<std::string> no_settings() { return Error{ErrorKind::kFailed, "no nix"}; }

TEST(ImportPolicy, IsReadStrictlyAndNothingIsTakenWhileItIsWrong) {
  for (const auto& [text, said] : std::vector<std::pair<std::string, std::string>>{
           {"", "no JSON object"},
           {"[]", "no JSON object"},
           {"{\"requireSignatures\": true", "no JSON object"},
           {R"({"requireSignature": true})", "no field 'requireSignature'"},
           {R"({"requireSignatures": "yes"})", "must be true or false"},
           {R"({"requireSignatures": true, "trustedPublicKeys": "a"})", "must be a list"},
           {R"({"requireSignatures": true, "trustedPublicKeys": [1]})", "must be a list"},
           {R"({"requireSignatures": true, "trustedPublicKeys": ["a:b"]})", "'a:b' is no public key"},
           {R"({"requireSignatures": true, "requireSignatures": false})",
            "'requireSignatures' is there twice"},
           {R"({"trustedPublicKeys": [], "requireSignatures": false, "trustedPublicKeys": []})",
            "there twice"},
           {R"({"requireSignatures": null})", "must be true or false"},
           {R"({"requireSignatures": false,})", "no JSON object"},
           {"{} {}", "no JSON object"},
           {std::string(60'000, '['), "no JSON object"},
           {"{\"trustedPublicKeys\": " + std::string(30'000, '[') + std::string(30'000, ']') + "}",
            "must be a list"},
           {R"({"requireSignatures": true})", "no nix"}}) {
    const auto policy = agent::parse_policy(text, no_settings);
    ASSERT_FALSE(policy) << text;
    EXPECT_EQ(policy.error().kind, ErrorKind::kRefused);
    EXPECT_NE(policy.error().message.find(said), std::string::npos) << policy.error().message;
    EXPECT_NE(policy.error().message.find(agent::kPolicyFile), std::string::npos);
  }
  const std::string place = testing::TempDir();
  EXPECT_FALSE(agent::load_policy(place, no_settings)) << "a directory";
  std::ofstream(place + "/flurry-policy") << "{}" << std::string(70'000, ' ');
  EXPECT_FALSE(agent::load_policy(place + "/flurry-policy", no_settings));
  const auto none = agent::load_policy(place + "/flurry-no-policy", no_settings);
  ASSERT_TRUE(none);
  EXPECT_FALSE(none->require_signatures);
}

TEST(ImportPolicy, ThatCannotBeReadIsNotTakenForNone) {
  namespace fs = std::filesystem;
  const std::string place = testing::TempDir() + "/flurry-policies-" + std::to_string(::getpid());
  fs::remove_all(place);
  fs::create_directory(place);
  fs::create_symlink("/nowhere/at-all", place + "/dangling");
  fs::create_symlink("/nowhere", place + "/gone");
  ASSERT_EQ(::mkfifo((place + "/fifo").c_str(), 0600), 0);
  std::ofstream(place + "/file") << R"({"requireSignatures": true, "trustedPublicKeys": []})";
  for (const char* name : {"/dangling", "/gone/agent.json", "/fifo", "/file/agent.json"})
    EXPECT_FALSE(agent::load_policy(place + name, no_settings)) << name;
  fs::create_symlink("file", place + "/link");
  const auto linked = agent::load_policy(place + "/link", no_settings);
  ASSERT_TRUE(linked) << "as NixOS has all of /etc";
  EXPECT_TRUE(linked->require_signatures);
}

TEST(ImportPolicy, TrustsTheKeysThatItNamesOrElseThoseOfNix) {
  auto info = signed_info();
  const auto own = agent::parse_policy(
      std::string(R"({"requireSignatures": true, "trustedPublicKeys": [")") + kPublic + "\"]}", no_settings);
  ASSERT_TRUE(own) << own.error().message;
  EXPECT_TRUE(agent::admit(*own, info));
  const auto nixs = agent::parse_policy(R"({"requireSignatures": true})", [] {
    return Result<std::string>(std::string(R"({"trusted-public-keys": {"value": [")") + kPublic + "\"]}}");
  });
  ASSERT_TRUE(nixs) << nixs.error().message;
  EXPECT_TRUE(agent::admit(*nixs, info));
  info.nar_size += 1;
  const auto refused = agent::admit(*nixs, info);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kRefused);
  for (const char* words :
       {"carries no good signature", "trusted: fleet-1", "the path's: fleet-1", "--sign-key"})
    EXPECT_NE(refused.error().message.find(words), std::string::npos) << refused.error().message;
  EXPECT_TRUE(agent::admit(agent::ImportPolicy{}, info)) << "without a policy all is taken";
}

TEST(ImportPolicy, ThatTrustsNoKeyTakesNothing) {
  auto unsigned_info = signed_info();
  unsigned_info.signatures.clear();
  const auto nothing_of_nix = [] { return Result<std::string>(R"({"trusted-public-keys": {"value": []}})"); };
  for (const auto& policy :
       {agent::parse_policy(R"({"requireSignatures": true, "trustedPublicKeys": []})", no_settings),
        agent::parse_policy(R"({"trustedPublicKeys": [], "requireSignatures": true})", no_settings),
        agent::parse_policy(R"({"requireSignatures": true})", nothing_of_nix)}) {
    ASSERT_TRUE(policy) << policy.error().message;
    for (const auto& info : {signed_info(), unsigned_info}) {
      const auto refused = agent::admit(*policy, info);
      ASSERT_FALSE(refused);
      EXPECT_NE(refused.error().message.find("trusted: none"), std::string::npos) << refused.error().message;
    }
  }
}

TEST_F(Stores, AHostThatRequiresSignaturesTakesNothingElse) {
  const StorePath top = build_top();
  agent::ImportOptions import;
  import.policy_file = dir() + "/agent.json";
  std::ofstream(import.policy_file) << R"({"requireSignatures": true, "trustedPublicKeys": [")" << kPublic
                                    << "\"]}";
  Host host(this->host(), {}, import);
  const auto refused = copy::copy_closure(host, kVerbs, deployment(), top, *local_, kOptions, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kRefused) << refused.error().message;
  EXPECT_NE(refused.error().message.find("-lib: carries no good signature"), std::string::npos)
      << refused.error().message;
  EXPECT_EQ(*on_host("ls /nix/store 2>/dev/null | grep -cv '^\\.links$' || true"), "0\n");
  const auto key = secret();
  auto options = kOptions;
  options.key = &key;
  Host again(this->host(), {}, import);
  const auto taken = copy::copy_closure(again, kVerbs, deployment(), top, *local_, options, {});
  ASSERT_TRUE(taken) << taken.error().message;
  EXPECT_EQ(taken->copied_paths, 4u);
}

TEST_F(Stores, TheKeysOfTheRealNixAreThoseOfTheHostAndNotOfItsUser) {
  ::setenv("NIX_CONFIG", ("extra-trusted-public-keys = " + std::string(kPublic)).c_str(), 1);
  const auto policy = agent::parse_policy(R"({"requireSignatures": true})", agent::nix_settings);
  ::unsetenv("NIX_CONFIG");
  ASSERT_TRUE(policy) << policy.error().message;
  ASSERT_EQ(policy->keys.size(), 1u);
  EXPECT_TRUE(policy->keys[0].name().starts_with("cache.nixos.org-")) << policy->keys[0].name();
}

TEST_F(Stores, ARealSignatureByNixIsGoodUnderItsPublicKeyOnly) {
  const StorePath top = build_top();
  const std::string file = dir() + "/nix-secret";
  for (const char* name : {"ours-1", "other-1"})
    ASSERT_TRUE(sys::run_checked(
        {.argv = {"nix-store", "--generate-binary-cache-key", name, file + name, file + name + ".public"}},
        in_seconds(20)));
  ASSERT_TRUE(sys::run_checked({.argv = {"nix", "--extra-experimental-features", "nix-command", "store",
                                         "sign", "--recursive", "--key-file", file + "ours-1", top.str()}},
                               in_seconds(20)));
  const auto key_of = [&](const char* name) {
    std::string text;
    std::ifstream(file + name + ".public") >> text;
    return std::vector<nix::PublicKey>{*nix::PublicKey::parse(text)};
  };
  const auto closure = nix::query_closure(*local_, top, in_seconds(10));
  ASSERT_TRUE(closure) << closure.error().message;
  for (const auto& info : *closure) {
    EXPECT_TRUE(nix::is_signed(info, key_of("ours-1"))) << info.path.str();
    EXPECT_FALSE(nix::is_signed(info, key_of("other-1"))) << info.path.str();
  }
}

}  // namespace
}  // namespace flurry
