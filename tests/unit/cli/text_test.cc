#include "cli/report/text.h"

#include <gtest/gtest.h>

namespace flurry {
namespace {

TEST(Text, CleansHostileLines) {
  EXPECT_EQ(clean_line("a\x1b[31mred\x1b[0m b"), "ared b");
  EXPECT_EQ(clean_line("\x1b]0;title\x07ok"), "ok");
  EXPECT_EQ(clean_line("\x1b]8;;http://x\x1b\\link"), "link");
  EXPECT_EQ(clean_line("\xc2\x9b"
                       "31mred"),
            "red");
  EXPECT_EQ(clean_line("a\nb\rc\td\be\x7f"), "a b c de");
  EXPECT_EQ(clean_line("x\xff\xc0\xafy"), "x\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBDy");
  EXPECT_EQ(clean_line("a\xe2\x80\xae"
                       "b"),
            "ab");
  EXPECT_EQ(clean_line("grün\r\n"), "grün");
  EXPECT_EQ(clean_line("\x1b"), "");
  EXPECT_EQ(clean_line("abcdef", 3), "abc…");
  EXPECT_EQ(clean_line(std::string("a\0b", 3)), "ab");
}

TEST(Text, Lines) {
  EXPECT_EQ(clean_lines("a\nb\nc\n\n", 2), (std::vector<std::string>{"b", "c"}));
  EXPECT_TRUE(clean_lines("\n").empty());
}

TEST(Text, Columns) {
  EXPECT_EQ(columns_of("日本"), 4U);
  EXPECT_EQ(fit_columns("abcdef", 4), "abc…");
  EXPECT_EQ(fit_columns("日本語", 4), "日…");
  EXPECT_EQ(pad("é", 3), "é  ");
}

TEST(Text, Formats) {
  EXPECT_EQ(format_duration(Millis(450)), "0.4s");
  EXPECT_EQ(format_duration(Millis(65'000)), "1m05s");
  EXPECT_EQ(format_duration(Millis(7'620'000)), "2h07m");
  EXPECT_EQ(format_bytes(512), "512 B");
  EXPECT_EQ(format_bytes(1536 * 1024), "1.5 MiB");
  EXPECT_EQ(format_bytes(~0ULL), "16384.0 PiB");
  EXPECT_EQ(format_time(0), "never");
}

}  // namespace
}  // namespace flurry
