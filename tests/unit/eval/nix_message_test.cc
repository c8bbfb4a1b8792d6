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

}  // namespace
}  // namespace flurry::eval
