#include "cli/remote_shell.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "cli/greeting.h"
#include "core/sys/clock.h"
#include "core/sys/fd.h"
#include "core/sys/subprocess.h"
#include "core/transfer/stream_mark.h"

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

bool is_installed(const std::string& shell) {
  return ::access(("/bin/" + shell).c_str(), X_OK) == 0 || ::access(("/usr/bin/" + shell).c_str(), X_OK) == 0;
}

// Three shells read it: the login shell, the one that asks who it is, and the one that is root.
TEST(RemoteShell, AWordStaysItselfThroughBecomingRoot) {
  for (const auto& word : kHostileWords) {
    const std::string command = as_root("printf '%s|' " + shell_quote(word), {"env"});
    EXPECT_EQ(printed_by("sh", command), word + "|");
    for (const char* shell : {"sh", "bash", "zsh", "fish", "tcsh"}) {
      if (!is_installed(shell)) continue;
      EXPECT_EQ(printed_by_nobody(shell, command), word + "|") << shell;
    }
  }
}

// In which shells agree of what it means: one pair of single quotes, and nothing in them that one of them
// reads.
TEST(RemoteShell, TheLoginShellReadsNothingThatShellsReadDifferently) {
  for (const auto& word : kHostileWords) {
    const std::string command = as_root("printf '%s|' " + shell_quote(word), {"sudo", word});
    const size_t open = command.find('\''), close = command.rfind('\'');
    ASSERT_LT(open, close);
    EXPECT_EQ(close, command.size() - 1);
    EXPECT_EQ(command.substr(open + 1, close - open - 1).find_first_of("'\\!\n"), std::string::npos)
        << command;
    EXPECT_EQ(command.substr(0, open), "exec sh -c ");
  }
}

class Ends {
 public:
  explicit Ends(const std::string& sent) : ends_(*sys::socket_pair()) {
    static_cast<void>(sys::write_all(ends_.first.get(), sent, soon()));
    ends_.first.reset();
  }
  int fd() const { return ends_.second.get(); }
  static TimePoint soon() { return sys::now() + Millis(10'000); }

 private:
  std::pair<sys::Fd, sys::Fd> ends_;
};

TEST(Greeting, IsPassedOverUpToTheMarkAndNoFurther) {
  const std::string mark(transfer::kStreamMark);
  const Ends ends("Welcome to web!\nlast" + mark + "then");
  const auto greeting = pass_over_greeting(ends.fd(), Ends::soon());
  ASSERT_TRUE(greeting) << greeting.error().message;
  EXPECT_TRUE(greeting->has_begun);
  EXPECT_EQ(greeting->text, "Welcome to web!\nlast");
  char rest[8] = {};
  const auto n = sys::read_some(ends.fd(), rest, Ends::soon());
  ASSERT_TRUE(n);
  EXPECT_EQ(std::string(rest, *n), "then");
}

TEST(Greeting, OfAShellThatRunsNothingIsKept) {
  const auto greeting = pass_over_greeting(Ends("This account is not available.\n").fd(), Ends::soon());
  ASSERT_TRUE(greeting);
  EXPECT_FALSE(greeting->has_begun);
  EXPECT_EQ(greeting->text, "This account is not available.\n");
}

TEST(Greeting, IsBounded) {
  const auto greeting = pass_over_greeting(Ends(std::string(100 << 10, 'x')).fd(), Ends::soon());
  ASSERT_FALSE(greeting);
  EXPECT_NE(greeting.error().message.find("prints too much"), std::string::npos);
}

TEST(RemoteShell, TheEscalationsOwnWordsAreLeftAlone) {
  const std::string command = as_root("echo root", {"printf", "%s|", "$(id)", "a b; id", "'"});
  EXPECT_EQ(printed_by_nobody("sh", command), "$(id)|a b; id|'|sh|-c|echo root|");
}

}  // namespace
}  // namespace flurry
