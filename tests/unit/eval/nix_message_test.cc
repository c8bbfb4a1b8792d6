#include <gtest/gtest.h>

#include "eval/nix_command.h"

namespace flurry::eval {
namespace {

TEST(NixMessage, TakesTheEssential) {
  EXPECT_EQ(nix_error_message("warning: Git tree is dirty\nerror: no\n", false), "no");
  EXPECT_EQ(
      nix_error_message(
          "\x1b[31;1merror:\x1b[0m undefined variable \x1b[35;1m'x'\x1b[0m\n\n       at f:1:2:\n", false),
      "undefined variable 'x'\n\n       at f:1:2:");
  // As 2.20 and later write it.
  EXPECT_EQ(nix_error_message(
                "error:\n       … while calling 'map'\n         at f:1:1:\n\n       error: the cause\n"
                "       at f:2:2:\n(stack trace truncated; use '--show-trace' to show the full)\n",
                false),
            "the cause\n       at f:2:2:");
  // As 2.8 writes a trace.
  EXPECT_EQ(nix_error_message("error: the cause\n\n       … while evaluating x\n", false), "the cause");
  EXPECT_EQ(nix_error_message("trace: flurry-12 begin a\nKilled\n", false), "Killed");
  EXPECT_EQ(nix_error_message("", false), "no message");
  EXPECT_EQ(
      nix_error_message(
          "error: getting status of '/nix/store/x-source/flake.nix': No such file or directory\n", false),
      "getting status of '/nix/store/x-source/flake.nix': No such file or directory\n"
      "(in a git repository, Nix sees only files that git tracks: git add the missing one)");
  const auto whole = nix_error_message("error: the cause\n       … while evaluating x\n", true);
  EXPECT_TRUE(whole.starts_with("the cause\n\nall that nix said:\n")) << whole;
  EXPECT_NE(whole.find("while evaluating x"), std::string::npos);
}

struct Recorded {
  const char* version;
  const char* standard_error;
  const char* message;  // its beginning
};

// What `nix eval` printed (2.8.0 and 2.26.3 here), and the shapes that the golden files of Nix 2.35's and Lix
// 2.94's own test suites have (tests/functional/lang), in words of ours.
constexpr Recorded kRecorded[] = {
    {"2.8", "error: my own words\n", "my own words"},
    {"2.8",
     "error: attribute 'name' missing\n\n       at «string»:1:9:\n\n            1| map (x: x.name) [ { } ]\n "
     "            |         ^\n",
     "attribute 'name' missing\n\n       at «string»:1:9:"},
    {"2.8", "error: evaluation aborted with the following error message: 'gave up'\n",
     "evaluation aborted with the following error message: 'gave up'"},
    {"2.8", "error: stack overflow (possible infinite recursion)\n", "stack overflow"},
    {"2.26",
     "error:\n       … while calling the 'throw' builtin\n         at «string»:1:1:\n            1| throw "
     "\"my own words\"\n             | ^\n\n       error: my own words\n",
     "my own words"},
    {"2.26",
     "error:\n       … while evaluating list element at index 0\n\n       error: attribute 'name' missing\n  "
     "     at «string»:1:9:\n            1| map (x: x.name) [ { } ]\n             |         ^\n",
     "attribute 'name' missing\n       at «string»:1:9:"},
    {"2.26",
     "error: stack overflow; max-call-depth exceeded\n       at «string»:1:16:\n            1| let f = x: 1 "
     "+ f (x + 1); in f 0\n             |                ^\n",
     "stack overflow; max-call-depth exceeded\n       at «string»:1:16:"},
    {"2.26",
     "error: syntax error, unexpected ';'\n       at «string»:1:7:\n            1| { a = ; }\n             | "
     "      ^\n",
     "syntax error, unexpected ';'\n       at «string»:1:7:"},
    {"2.35",
     "error:\n       … while evaluating the attribute 'a.b'\n         at /x/flake.nix:3:5:\n            2|   "
     "a = {\n            3|     b.c = { };\n             |     ^\n\n       (stack trace truncated; use "
     "'--show-trace' to show the full, detailed trace)\n\n       error: expected a string but found an "
     "integer: 1\n",
     "expected a string but found an integer: 1"},
    {"Lix",
     "error:\n       … in the argument of the not operator\n         at /x/flake.nix:1:4:\n            1| ! "
     "(throw \"no\")\n             |    ^\n\n       … caused by explicit throw\n         at "
     "/x/flake.nix:1:4:\n            1| ! (throw \"no\")\n             |    ^\n\n       error: no\n",
     "no"},
    {"Lix",
     "error:\n       … from call site\n         at /x/flake.nix:1:1:\n            1| f 0\n             | "
     "^\n\n       (19997 duplicate frames omitted)\n\n       error: stack overflow; max-call-depth "
     "exceeded\n       at /x/flake.nix:1:14:\n",
     "stack overflow; max-call-depth exceeded\n       at /x/flake.nix:1:14:"},
};

TEST(NixMessage, BeginsWithTheCauseInEveryVersionsOutput) {
  for (const auto& [version, said, wanted] : kRecorded) {
    const std::string message = nix_error_message(said, false);
    EXPECT_TRUE(message.starts_with(wanted)) << version << ": " << message;
    EXPECT_EQ(message.find("… "), std::string::npos) << version << " keeps its trace: " << message;
  }
}

TEST(NixMessage, KeepsTheTraceWhereItIsWanted) {
  for (const auto& [version, said, wanted] : kRecorded) {
    const std::string message = nix_error_message(said, true);
    EXPECT_TRUE(message.starts_with(wanted)) << version;
    const bool has_trace = std::string_view(said).find("… ") != std::string_view::npos;
    EXPECT_EQ(message.find("… ") != std::string::npos, has_trace) << version << ": " << message;
  }
}

TEST(NixMessage, IsWholeWhateverItsLinesBeginWith) {
  EXPECT_EQ(nix_error_message("error: first\n       error: second\n", false), "first\n       error: second");
  EXPECT_EQ(nix_error_message("error:\n       … while calling the 'throw' builtin\n         at f:1:1:\n\n"
                              "       error: first\n       error: second\n",
                              false),
            "first\n       error: second");
}

TEST(NixMessage, IsTheListOfFailedAssertionsAndNoOtherHostsWarning) {
  const std::string list = "Failed assertions:\n       - the first\n       - the second";
  EXPECT_EQ(nix_error_message("trace: warning: of another host\nerror: \n       " + list + "\n", false),
            list);
  EXPECT_EQ(
      nix_error_message(
          "warning: x\nerror:\n       … while evaluating y\n\n       error:\n       " + list + "\n", false),
      list);
}

TEST(NixMessage, NamesTheOptionAndItsFile) {
  const std::string message = nix_error_message(
      "error:\n       … while evaluating the attribute 'config'\n\n       … while evaluating the option "
      "`services.web.port':\n\n       … while evaluating definitions from `/x/web.nix':\n\n"
      "       error: attribute 'port' missing\n",
      false);
  EXPECT_EQ(message,
            "attribute 'port' missing\n… while evaluating the option `services.web.port':\n"
            "… while evaluating definitions from `/x/web.nix':");
}

TEST(NixMessage, HintsAtGitOnlyWhereAFileIsMissing) {
  const std::string hint = "git add";
  const auto said = [](const std::string& text) { return nix_error_message("error: " + text + "\n", false); };
  EXPECT_NE(said("path '/nix/store/x-source/web.nix' does not exist").find(hint), std::string::npos);
  EXPECT_EQ(said("The option `a.b' does not exist. Definition values:\n- In `/nix/store/x-source/web.nix'")
                .find(hint),
            std::string::npos);
}

TEST(NixMessage, IsBoundedWhateverNixSays) {
  const std::string message = nix_error_message("error: " + std::string(60'000, 'x') + "\n", false);
  EXPECT_LT(message.size(), 9000u);
  EXPECT_TRUE(message.starts_with("xxx") && message.ends_with(" [...]"));
}

}  // namespace
}  // namespace flurry::eval
