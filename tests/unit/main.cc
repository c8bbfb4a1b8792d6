#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

// Of every test program. A test that skips itself for want of root, Nix or sshd has shown nothing, and ctest
// calls its program passed all the same: so it is said at the end, and with CI=true it is a failure.

namespace {

class Skips : public testing::EmptyTestEventListener {
 public:
  explicit Skips(bool is_failure) : is_failure_(is_failure) {}
  size_t count() const { return names_.size(); }

 private:
  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (result.type() == testing::TestPartResult::kSkip) why_ = result.message() ? result.message() : "";
  }
  void OnTestEnd(const testing::TestInfo& test) override {
    if (!test.result()->Skipped()) return;
    names_.push_back(std::string(test.test_suite_name()) + "." + test.name());
  }
  void OnTestProgramEnd(const testing::UnitTest&) override {
    if (names_.empty()) return;
    std::fprintf(stderr, "%s: %zu tests skipped themselves (%s), so they show nothing:\n",
                 is_failure_ ? "FAILED, because CI=true" : "WARNING", names_.size(), why_.c_str());
    for (const auto& name : names_) std::fprintf(stderr, "  %s\n", name.c_str());
  }

  const bool is_failure_;
  std::string why_;
  std::vector<std::string> names_;
};

}  // namespace

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  const char* ci = std::getenv("CI");
  const bool is_ci = ci && std::strcmp(ci, "true") == 0;
  auto* skips = new Skips(is_ci);  // gtest's from here on
  testing::UnitTest::GetInstance()->listeners().Append(skips);
  const int code = RUN_ALL_TESTS();
  return code != 0 || (is_ci && skips->count() > 0) ? 1 : 0;
}
