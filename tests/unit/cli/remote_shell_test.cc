#include "cli/remote_shell.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <vector>

#include "core/sys/clock.h"
#include "core/sys/subprocess.h"

namespace flurry {
namespace {

const std::string kHostileWords[] = {
    "a b", "it's", "'; touch /tmp/x; '", "$(id)",    "`id`",     "$HOME", "\\", "\\'", "a\nb", "*",
    "~",   "-n",   "\"quoted\"",         "!history", "&& false", "",      "'",  "#"};

std::string printed_by(const std::string& shell, const std::string& command) {
  const auto result = sys::run({.argv = {shell, "-c", command}}, sys::now() + Millis(10'000));
  return result ? result->standard_output : "could not run: " + result.error().message;
}

TEST(RemoteShell, AWordStaysTheWordThatItIs) {
  for (const auto& word : kHostileWords)
    EXPECT_EQ(printed_by("sh", "printf '%s|' " + shell_quote(word) + " end"), word + "|end|");
}

// What is printed by `command` in the shell of somebody who is not root, and would not become it here.
std::string printed_by_nobody(const std::string& shell, const std::string& command) {
  std::vector<std::string> argv = {shell, "-c", command};
  const std::vector<std::string> drop = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
  if (::geteuid() == 0) argv.insert(argv.begin(), drop.begin(), drop.end());
  const auto result = sys::run({.argv = argv}, sys::now() + Millis(10'000));
  return result ? result->standard_output : "could not run: " + result.error().message;
}

// Three shells read it: the login shell, the one that asks who it is, and the one that is root.
TEST(RemoteShell, AWordStaysItselfThroughBecomingRoot) {
  for (const auto& word : kHostileWords) {
    const std::string command = as_root("printf '%s|' " + shell_quote(word), {"env"});
    EXPECT_EQ(printed_by("sh", command), word + "|");
    EXPECT_EQ(printed_by_nobody("sh", command), word + "|");
    EXPECT_EQ(printed_by_nobody("bash", command), word + "|");
  }
}

TEST(RemoteShell, TheEscalationsOwnWordsAreLeftAlone) {
  const std::string command = as_root("echo root", {"printf", "%s|", "$(id)", "a b; id", "'"});
  EXPECT_EQ(printed_by_nobody("sh", command), "$(id)|a b; id|'|sh|-c|echo root|");
}

}  // namespace
}  // namespace flurry
