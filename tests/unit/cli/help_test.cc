#include "cli/help.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace flurry {
namespace {

TEST(Help, NamesEveryOptionAndExitCodeOfTheVerb) {
  for (const auto& verb : verb_table()) {
    const std::string help = verb_help(verb);
    for (const auto name : verb.options) {
      ASSERT_NE(find_option(name), nullptr) << name;
      EXPECT_NE(help.find("--" + std::string(name)), std::string::npos) << verb.name << " " << name;
    }
    for (const auto& option : option_table()) {
      if (std::ranges::count(verb.options, option.name) > 0) continue;
      EXPECT_EQ(help.find(" --" + std::string(option.name) + " "), std::string::npos) << option.name;
    }
    for (const auto& code : verb.exit_codes) EXPECT_NE(help.find(code.text), std::string::npos);
    EXPECT_NE(general_help().find(verb.summary), std::string::npos);
  }
}

TEST(Help, ExamplesParse) {
  for (const auto& verb : verb_table()) {
    for (const auto example : verb.examples) {
      std::vector<std::string> words{""};
      bool is_quoted = false;
      for (const char c : example) {
        if (c == '\'')
          is_quoted = !is_quoted;
        else if (c == ' ' && !is_quoted)
          words.emplace_back();
        else
          words.back() += c;
      }
      std::vector<const char*> argv;
      for (const auto& word : words) argv.push_back(word.c_str());
      const auto options = parse_options(static_cast<int>(argv.size()), argv.data());
      ASSERT_TRUE(options) << example << ": " << options.error().message;
      EXPECT_EQ(options->verb, verb.verb);
    }
  }
}

TEST(Help, FitsATerminal) {
  for (const auto& verb : verb_table()) {
    const std::string help = verb_help(verb);
    for (size_t at = 0; at < help.size();) {
      const size_t end = std::min(help.find('\n', at), help.size());
      EXPECT_LE(end - at, 92U) << help.substr(at, end - at);
      at = end + 1;
    }
  }
}

}  // namespace
}  // namespace flurry
