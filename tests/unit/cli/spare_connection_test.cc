#include "cli/spare_connection.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>

namespace flurry {
namespace {

class NoProcess : public RemoteProcess {
 public:
  sys::Fd& io() override { return fd_; }
  Result<RemoteExit> wait(TimePoint) override { return RemoteExit{.exit_code = 0}; }

 private:
  sys::Fd fd_;
};

// A server that takes so many sessions.
class Server : public Connection {
 public:
  Server(int sessions, ErrorKind refusal) : left_(sessions), refusal_(refusal) {}
  Result<std::unique_ptr<RemoteProcess>> exec(const std::string&, TimePoint) override {
    if (left_-- <= 0) return Error{refusal_, "no more"};
    return std::unique_ptr<RemoteProcess>(std::make_unique<NoProcess>());
  }
  std::string peer() const override { return "root@web:22"; }

 private:
  int left_;
  ErrorKind refusal_;
};

class SpareTest : public testing::Test {
 protected:
  SpareConnection connection(int sessions, ErrorKind refusal = ErrorKind::kRefused) {
    return {std::make_unique<Server>(sessions, refusal),
            [this](TimePoint) -> Result<std::unique_ptr<Connection>> {
              ++dialled_;
              if (is_away_) return Error{ErrorKind::kUnreachable, "away"};
              return std::unique_ptr<Connection>(std::make_unique<Server>(1, ErrorKind::kRefused));
            }};
  }
  int dialled_ = 0;
  bool is_away_ = false;
};

TEST_F(SpareTest, IsNotDialledWhereTheServerTakesAll) {
  auto spare = connection(2);
  EXPECT_TRUE(spare.exec("a", {}));
  EXPECT_TRUE(spare.exec("b", {}));
  EXPECT_EQ(dialled_, 0);
}

TEST_F(SpareTest, TakesWhatTheServerRefusesAndIsDialledOnce) {
  auto spare = connection(1);
  EXPECT_TRUE(spare.exec("a", {}));
  EXPECT_TRUE(spare.exec("b", {}));
  EXPECT_EQ(spare.exec("c", {}).error().kind, ErrorKind::kRefused);
  EXPECT_EQ(spare.exec("d", {}).error().kind, ErrorKind::kRefused);
  EXPECT_EQ(dialled_, 1);
}

TEST_F(SpareTest, IsForRefusalsOnly) {
  auto spare = connection(0, ErrorKind::kUnreachable);
  EXPECT_EQ(spare.exec("a", {}).error().kind, ErrorKind::kUnreachable);
  EXPECT_EQ(dialled_, 0);
}

TEST_F(SpareTest, SaysBothReasonsWhereItCantBeHad) {
  is_away_ = true;
  auto spare = connection(0);
  const auto error = spare.exec("a", {}).error();
  EXPECT_EQ(error.kind, ErrorKind::kUnreachable);
  EXPECT_NE(error.message.find("no more"), std::string::npos) << error.message;
  EXPECT_NE(error.message.find("away"), std::string::npos) << error.message;
}

}  // namespace
}  // namespace flurry
