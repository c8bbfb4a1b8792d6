#include "eval/build_log.h"

#include <gtest/gtest.h>

#include <utility>
#include <vector>

namespace flurry::eval {
namespace {

const std::string kHash(32, 'a');
const std::string kTop = "/nix/store/" + kHash + "-top.drv";
const std::string kLib = "/nix/store/" + kHash + "-lib.drv";

std::string start(int id, const std::string& drv) {
  return R"(@nix {"action":"start","id":)" + std::to_string(id) + R"(,"type":105,"fields":[")" + drv +
         R"("]})";
}
std::string said(int id, const std::string& line) {
  return R"(@nix {"action":"result","id":)" + std::to_string(id) + R"(,"type":101,"fields":[")" + line +
         R"("]})";
}
std::string error(const std::string& text) {
  return R"(@nix {"action":"msg","level":0,"raw_msg":")" + text + R"("})";
}

TEST(BuildLog, TellsADerivationThatFailsByItselfOnceAndWithTheEndOfItsLog) {
  std::string seen;
  std::vector<BuildFailure> failures;
  BuildLog log([&](std::string_view line) { seen += line; },
               [&](BuildFailure failure) { failures.push_back(std::move(failure)); });
  log.take_line(start(1, kLib));
  for (int i = 0; i < 20; ++i) log.take_line(said(1, "line" + std::to_string(i)));
  log.take_line(error("Cannot build '" + kLib + "'."));
  log.take_line(error("Cannot build '" + kLib + "'."));
  log.take_line(R"(@nix {"action":"stop","id":1})");
  log.take_line(error("1 dependencies of derivation '" + kTop + "' failed to build"));
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures[0].drv, kLib);
  const auto message = failures[0].describe(false);
  EXPECT_TRUE(message.starts_with("build: dependency lib failed: Cannot build '" + kLib)) << message;
  EXPECT_EQ(message.find("line9\n"), std::string::npos) << message;
  EXPECT_NE(message.find("line10\n"), std::string::npos) << message;
  EXPECT_TRUE(message.ends_with("\n  all of it: nix log " + kLib)) << message;
  EXPECT_TRUE(failures[0].describe(true).starts_with("build failed: Cannot build"));
  EXPECT_TRUE(seen.starts_with("lib> line0")) << seen;
}

// As Nix 2.8.0 told it of builders by ssh.
TEST(BuildLog, TellsWhatARemoteBuilderSaidOfItsBuild) {
  std::vector<BuildFailure> failures;
  BuildLog log({}, [&](BuildFailure failure) { failures.push_back(std::move(failure)); });
  log.take_line(error("error: build of '" + kLib +
                      "' on 'ssh://root@h1' failed: hash mismatch in fixed-output derivation '" + kLib +
                      "':\\n specified: sha256-A\\n got: sha256-B"));
  log.take_line(error("builder for '" + kLib + "' failed with exit code 1"));
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_NE(failures[0].cause.find("on 'ssh://root@h1' failed: hash mismatch"), std::string::npos)
      << failures[0].cause;
  EXPECT_NE(failures[0].cause.find("got: sha256-B"), std::string::npos) << failures[0].cause;
}

TEST(BuildLog, TellsWhyNoBuilderWasToBeHad) {
  BuildLog log({}, {});
  log.take_line(
      error("cannot build on 'ssh://root@h9': error: cannot connect to 'root@h9': No route to host"));
  log.take_line(
      error("unable to start any build; remote machines may not have all required system features."));
  EXPECT_EQ(log.last_error(),
            "unable to start any build; remote machines may not have all required system features.\n"
            "  cannot build on 'ssh://root@h9': error: cannot connect to 'root@h9': No route to host");
}

TEST(BuildLog, TellsTheLastErrorThatIsNoConsequence) {
  BuildLog log({}, {});
  log.take_line(error("1 dependency failed"));
  EXPECT_EQ(log.last_error(), "1 dependency failed");
  log.take_line(error("output '/nix/store/x' is not allowed to refer to '/nix/store/y'"));
  log.take_line(error("1 dependencies of derivation '" + kTop + "' failed to build"));
  EXPECT_EQ(log.last_error(), "output '/nix/store/x' is not allowed to refer to '/nix/store/y'");
}

// Its copy would be made by recursion, and the stack would end.
TEST(BuildLog, BearsDeepNesting) {
  BuildLog log({}, {});
  const size_t depth = 30'000;
  log.take_line(R"(@nix {"action":"start","id":1,"type":105,"fields":)" + std::string(depth, '[') +
                std::string(depth, ']') + "}");
  EXPECT_EQ(log.last_error(), "");
}

TEST(BuildLog, PassesOverNumbersThatAreNone) {
  std::string seen;
  BuildLog log([&](std::string_view line) { seen += line; }, {});
  log.take_line(start(7, kLib));
  for (const char* id : {"7.5", "1e300", "-7", "\"7\"", "[7]"})
    log.take_line(R"(@nix {"action":"stop","id":)" + std::string(id) + "}");
  log.take_line(said(7, "still there"));
  EXPECT_EQ(seen, "lib> still there");
}

TEST(BuildLog, BearsAnything) {
  BuildLog log({}, {});
  for (const char* line :
       {"@nix {", "@nix []", "@nix 1", "@nix {\"action\":1}", "@nix {\"action\":\"msg\",\"level\":\"x\"}",
        "@nix {\"action\":\"start\",\"type\":105,\"fields\":{},\"id\":1}", "plain", "",
        "@nix {\"action\":\"result\",\"type\":101,\"id\":-1,\"fields\":[\"x\"]}"})
    log.take_line(line);
  EXPECT_EQ(log.last_error(), "");
  log.take_line("error: cannot open connection to remote store");
  EXPECT_EQ(log.last_error(), "cannot open connection to remote store");
}

}  // namespace
}  // namespace flurry::eval
