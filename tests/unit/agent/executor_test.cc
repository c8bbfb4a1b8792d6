#include "agent/executor.h"

#include <fcntl.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "agent/convert.h"
#include "agent/deadman.h"
#include "agent/file_io.h"
#include "agent/rpc/server.h"
#include "agent/run_switch.h"
#include "core/sys/clock.h"
#include "core/wire/convert.h"
#include "flurry/v1/agent.grpc.pb.h"
#include "tests/unit/agent/fake_system.h"
#include "tests/unit/agent/temp_dir.h"

namespace flurry::agent {
namespace {

constexpr Millis kPatience{10'000};

// A journal whose writes of one phase fail.
class FaultyJournal : public FileJournal {
 public:
  using FileJournal::FileJournal;
  Result<void> write(const ActivationRecord& record) override {
    if (unwritable.load() == record.phase) {
      ++refused;
      return Error{ErrorKind::kNoSpace, "disk full"};
    }
    return FileJournal::write(record);
  }
  Result<std::optional<JournalEntry>> latest_unfinished() override {
    if (const auto act = std::exchange(before_the_look, {})) act();
    return FileJournal::latest_unfinished();
  }
  std::atomic<std::optional<Phase>> unwritable;
  std::atomic<int> refused = 0;
  std::function<void()> before_the_look;  // once
};

// One life of an agent on a host.
class Life {
 public:
  Life(System& system, Journal& journal, const Paths& paths)
      : executor(system, journal, paths, {.boot_id = kBootId, .retry = Millis(50)}),
        thread_([this] { executor.run(); }) {}
  ~Life() { executor.stop(); }

  std::optional<Observation> wait(const DeploymentId& id, std::optional<Phase> phase = Phase::kEnded) {
    std::optional<Observation> last;
    for (const TimePoint until = sys::now() + kPatience; sys::now() < until;) {
      auto seen = executor.observe(id, last ? last->revision : 0, Millis(200));
      if (!seen) return last;
      last = *std::move(seen);
      if (last && last->record.phase == phase) return last;
    }
    return last;
  }

  Executor executor;

 private:
  std::jthread thread_;  // joined before the executor goes
};

class ExecutorTest : public testing::Test {
 protected:
  ExecutorTest() : paths_{dir_.str()}, journal_(paths_.journals()) {}

  Outcome deploy(const ActivationSpec& spec, bool confirms = true) {
    Life life(system_, journal_, paths_);
    const auto begun = life.executor.begin(spec);
    EXPECT_TRUE(begun) << begun.error().message;
    if (confirms) {
      life.wait(spec.deployment, Phase::kAwaitingConfirmation);
      EXPECT_FALSE(life.executor.confirm(spec.deployment, std::string(32, 'f')));
      EXPECT_TRUE(life.executor.confirm(spec.deployment, kNonce));
    }
    const auto end = life.wait(spec.deployment);
    return end && end->record.outcome ? *end->record.outcome : Outcome::kUnknown;
  }

  TempDir dir_;
  Paths paths_;
  FakeSystem system_;
  FaultyJournal journal_;
};

TEST_F(ExecutorTest, CommitsAGoodDeployment) {
  EXPECT_EQ(deploy(test_spec()), Outcome::kSucceeded);
  EXPECT_EQ(system_.state().running, kNew);
  EXPECT_EQ(system_.state().profile, kNew);
  EXPECT_FALSE(*FileLock::is_held(paths_.executor_lock()));
  EXPECT_EQ((*journal_.find(test_spec().deployment))->record.outcome, Outcome::kSucceeded);
}

TEST_F(ExecutorTest, UnchangedTouchesNothing) {
  system_.set_running(kNew, true);
  EXPECT_EQ(deploy(test_spec(), false), Outcome::kUnchanged);
  EXPECT_EQ(system_.switches(), 0);
  EXPECT_FALSE(*journal_.find(test_spec().deployment));
}

TEST_F(ExecutorTest, GoesBackOnEveryFailure) {
  struct Case {
    const char* name;
    std::function<void()> break_it;
    Outcome outcome;
  };
  const Case cases[] = {
      {"check", [&] { system_.is_check_passing = false; }, Outcome::kRolledBack},
      {"switch", [&] { system_.switch_exit = 2; }, Outcome::kRolledBack},
      {"refused", [&] { system_.switch_exit = 1; }, Outcome::kFailedUnchanged},
      {"hang", [&] { system_.is_switch_hanging = true; }, Outcome::kRolledBack},
      {"journal", [&] { journal_.unwritable = Phase::kChecking; }, Outcome::kRolledBack},
      {"unconfirmed", [] {}, Outcome::kRolledBack},
  };
  int number = 0;
  for (const auto& c : cases) {
    system_.is_check_passing = true;
    system_.switch_exit = 0;
    system_.is_switch_hanging = false;
    journal_.unwritable = std::nullopt;
    c.break_it();
    EXPECT_EQ(deploy(test_spec(++number), false), c.outcome) << c.name;
    EXPECT_EQ(system_.state().running, kOld) << c.name;
    EXPECT_EQ(system_.state().profile, kOld) << c.name;
  }
}

TEST_F(ExecutorTest, FailedCommitGoesBack) {
  system_.is_commit_failing = true;
  EXPECT_EQ(deploy(test_spec()), Outcome::kRolledBack);
  EXPECT_EQ(system_.state().profile, kOld);
  EXPECT_EQ(system_.state().generation, 7u);
}

TEST_F(ExecutorTest, RefusesASecondDeployment) {
  system_.is_switch_hanging = true;
  Life life(system_, journal_, paths_);
  ASSERT_TRUE(life.executor.begin(test_spec(1)));
  life.wait(test_spec(1).deployment, Phase::kSwitching);
  EXPECT_TRUE(life.executor.begin(test_spec(1))) << "a repeated call";
  const auto second = life.executor.begin(test_spec(2));
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().kind, ErrorKind::kRefused);
  EXPECT_NE(second.error().message.find(test_spec(1).deployment.str()), std::string::npos);
  auto other_nonce = test_spec(1);
  other_nonce.nonce = std::string(32, 'a');
  EXPECT_FALSE(life.executor.begin(other_nonce));
  EXPECT_TRUE(life.executor.overview()->active);
}

// Its controller dialled anew, was told that nothing had begun, and has reported that.
TEST_F(ExecutorTest, RefusesABeginThatComesAfterItsControllerGaveUp) {
  Life life(system_, journal_, paths_);
  const auto seen = life.executor.observe(test_spec(1).deployment, 0, Millis(0));
  ASSERT_TRUE(seen);
  EXPECT_FALSE(*seen);
  const auto late = life.executor.begin(test_spec(1));
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().kind, ErrorKind::kRefused);
  EXPECT_NE(late.error().message.find("given up"), std::string::npos);
  EXPECT_EQ(system_.switches(), 0);
  EXPECT_TRUE(life.executor.begin(test_spec(2))) << "another deployment";
}

TEST_F(ExecutorTest, DeadmanEndsWhenItsJournalWasTakenAway) {
  run_deadman(test_spec().deployment, system_, journal_, paths_, {.boot_id = kBootId, .poll = Millis(5)});
  EXPECT_EQ(system_.switches(), 0);
}

TEST_F(ExecutorTest, RollBackOnRequest) {
  auto spec = test_spec();
  spec.confirm_timeout = Millis(60'000);
  Life life(system_, journal_, paths_);
  ASSERT_TRUE(life.executor.begin(spec));
  life.wait(spec.deployment, Phase::kAwaitingConfirmation);
  EXPECT_FALSE(life.executor.roll_back(spec.deployment, "wrong", "because"));
  EXPECT_TRUE(life.executor.roll_back(spec.deployment, kNonce, "because"));
  EXPECT_EQ(life.wait(spec.deployment)->record.outcome, Outcome::kRolledBack);
}

// An agent that ends in good order hands its deployment over; it can still be confirmed.
TEST_F(ExecutorTest, AnOrderlyRestartLosesNothing) {
  auto spec = test_spec();
  spec.confirm_timeout = Millis(60'000);
  {
    Life first(system_, journal_, paths_);
    ASSERT_TRUE(first.executor.begin(spec));
    first.wait(spec.deployment, Phase::kAwaitingConfirmation);
  }
  EXPECT_TRUE((*journal_.find(spec.deployment))->record.holder_stopped);
  Life second(system_, journal_, paths_);
  second.wait(spec.deployment, Phase::kAwaitingConfirmation);
  ASSERT_TRUE(second.executor.confirm(spec.deployment, kNonce));
  EXPECT_EQ(second.wait(spec.deployment)->record.outcome, Outcome::kSucceeded);
}

// The next agent would watch, and have confirmed, a system that is being taken away.
TEST_F(ExecutorTest, ARollbackThatTheJournalRefusedIsNotHandedOverAsAllWell) {
  auto spec = test_spec();
  spec.activation_timeout = spec.confirm_timeout = Millis(60'000);
  system_.is_going_back_hanging = true;
  journal_.unwritable = Phase::kRollingBack;
  {
    Life first(system_, journal_, paths_);
    ASSERT_TRUE(first.executor.begin(spec));
    first.wait(spec.deployment, Phase::kAwaitingConfirmation);
    ASSERT_TRUE(first.executor.roll_back(spec.deployment, kNonce, "because"));
    const TimePoint until = sys::now() + kPatience;
    while (system_.switches() < 2 && sys::now() < until) ::poll(nullptr, 0, 5);
    ASSERT_EQ(system_.switches(), 2);
  }
  const auto left = (*journal_.find(spec.deployment))->record;
  EXPECT_EQ(left.phase, Phase::kAwaitingConfirmation);
  EXPECT_FALSE(left.holder_stopped);
}

// The journal as a crash in that phase leaves it.
TEST_F(ExecutorTest, ACrashEndsAsTheCoreSays) {
  const std::pair<Phase, Outcome> cases[] = {{Phase::kPrepared, Outcome::kFailedUnchanged},
                                             {Phase::kSwitching, Outcome::kRolledBack},
                                             {Phase::kAwaitingConfirmation, Outcome::kRolledBack},
                                             {Phase::kProfileSet, Outcome::kSucceeded},
                                             {Phase::kRollingBack, Outcome::kRolledBack}};
  int number = 0;
  for (const auto& [phase, outcome] : cases) {
    system_.set_running(kOld, true);
    ActivationRecord record{.spec = test_spec(++number)};
    record.before = system_.state();
    record.phase = phase;
    record.deadline = sys::now() + Millis(500);
    if (phase != Phase::kPrepared) system_.set_running(kNew, phase == Phase::kProfileSet);
    ASSERT_TRUE(journal_.write(record));
    Life life(system_, journal_, paths_);
    EXPECT_EQ(life.wait(record.spec.deployment)->record.outcome, outcome) << to_string(phase);
  }
}

TEST_F(ExecutorTest, FollowsWhileAnotherProcessHoldsTheHost) {
  ActivationRecord record{.spec = test_spec()};
  record.before = system_.state();
  record.phase = Phase::kChecking;
  ASSERT_TRUE(journal_.write(record));
  ASSERT_TRUE(make_private_dir(paths_.run()));
  auto lock = FileLock::try_take(paths_.executor_lock());
  ASSERT_TRUE(lock && *lock);
  Life life(system_, journal_, paths_);
  EXPECT_EQ(life.wait(record.spec.deployment, Phase::kChecking)->record.phase, Phase::kChecking);
  EXPECT_FALSE(life.executor.begin(test_spec(2)));
  lock->reset();
  EXPECT_EQ(life.wait(record.spec.deployment)->record.outcome, Outcome::kRolledBack);
}

// The lock's holder is a real process that has been stopped; the deadman kills it and goes back.
TEST_F(ExecutorTest, DeadmanTakesOverFromAFrozenAgent) {
  ActivationRecord record{.spec = test_spec()};
  record.before = system_.state();
  record.phase = Phase::kAwaitingConfirmation;
  record.deadline = sys::now() + Millis(200);
  system_.set_running(kNew, false);
  ASSERT_TRUE(journal_.write(record));
  ASSERT_TRUE(make_private_dir(paths_.run()));
  const pid_t holder = ::fork();
  ASSERT_GE(holder, 0);
  if (holder == 0) {
    const auto lock = FileLock::try_take(paths_.executor_lock());
    ::raise(SIGSTOP);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(holder, &status, WUNTRACED);
  ASSERT_TRUE(*FileLock::is_held(paths_.executor_lock()));
  run_deadman(record.spec.deployment, system_, journal_, paths_,
              {.boot_id = kBootId, .poll = Millis(50), .grace = Millis(100), .stalled_for = Millis(300)});
  EXPECT_EQ(::waitpid(holder, &status, 0), holder);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ((*journal_.find(record.spec.deployment))->record.outcome, Outcome::kRolledBack);
  EXPECT_EQ(system_.state().running, kOld);
}

// A restarted agent wins the race for the lock that the deadman saw free, and freezes in its turn.
TEST_F(ExecutorTest, DeadmanTakesOverFromAnAgentThatFreezesAfterItWasFaster) {
  ActivationRecord record{.spec = test_spec()};
  record.before = system_.state();
  record.phase = Phase::kAwaitingConfirmation;
  record.deadline = sys::now() - Millis(60'000);
  system_.set_running(kNew, false);
  ASSERT_TRUE(journal_.write(record));
  ASSERT_TRUE(make_private_dir(paths_.run()));
  pid_t holder = -1;
  int status = 0;
  journal_.before_the_look = [&] {
    holder = ::fork();
    if (holder == 0) {
      const auto lock = FileLock::try_take(paths_.executor_lock());
      ::raise(SIGSTOP);
      ::_exit(0);
    }
    ::waitpid(holder, &status, WUNTRACED);
  };
  run_deadman(record.spec.deployment, system_, journal_, paths_,
              {.boot_id = kBootId, .poll = Millis(50), .grace = Millis(100), .stalled_for = Millis(300)});
  ASSERT_GT(holder, 0);
  EXPECT_EQ(::waitpid(holder, &status, 0), holder);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ((*journal_.find(record.spec.deployment))->record.outcome, Outcome::kRolledBack);
}

// The outcome was verified; a disk that has no room for it is no reason to activate anything again.
TEST_F(ExecutorTest, AnOutcomeThatTheJournalRefusedIsWrittenLaterAndNothingIsDoneTwice) {
  system_.is_check_passing = false;
  journal_.unwritable = Phase::kEnded;
  Life life(system_, journal_, paths_);
  ASSERT_TRUE(life.executor.begin(test_spec()));
  EXPECT_EQ(life.wait(test_spec().deployment)->record.outcome, Outcome::kRolledBack);
  const int switches = system_.switches();
  for (const TimePoint until = sys::now() + kPatience; journal_.refused < 4 && sys::now() < until;)
    ::usleep(5'000);
  EXPECT_GE(journal_.refused, 4) << "tried again";
  EXPECT_FALSE(life.executor.begin(test_spec(2))) << "the journal says that the host is held";
  journal_.unwritable = std::nullopt;
  for (const TimePoint until = sys::now() + kPatience; sys::now() < until; ::usleep(5'000))
    if ((*journal_.find(test_spec().deployment))->record.phase == Phase::kEnded) break;
  EXPECT_EQ((*journal_.find(test_spec().deployment))->record.outcome, Outcome::kRolledBack);
  EXPECT_EQ(system_.switches(), switches);
}

TEST_F(ExecutorTest, ADamagedJournalHoldsTheHostUntilTheBootDefaultRunsAndIsKept) {
  ActivationRecord record{.spec = test_spec(1)};
  record.phase = Phase::kChecking;
  ASSERT_TRUE(journal_.write(record));
  ASSERT_EQ(::truncate(journal_.path(record.spec.deployment).c_str(), 10), 0);
  system_.set_running(kNew, false);  // and the profile names the old one
  Life life(system_, journal_, paths_);
  const auto refused = life.executor.begin(test_spec(2));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().kind, ErrorKind::kRefused);
  EXPECT_NE(refused.error().message.find(test_spec(1).deployment.str()), std::string::npos);
  EXPECT_EQ(life.executor.overview()->notes.size(), 1u);

  system_.set_running(kOld, true);
  const auto begun = life.executor.begin(test_spec(2));
  EXPECT_TRUE(begun) << begun.error().message;
  const auto notes = life.executor.overview()->notes;
  ASSERT_EQ(notes.size(), 1u) << "its story is not forgotten";
  EXPECT_NE(notes[0].find(test_spec(1).deployment.str() + ".damaged"), std::string::npos);
  EXPECT_TRUE(std::filesystem::exists(paths_.journals() + "/" + test_spec(1).deployment.str() + ".damaged"));
}

// A build may take longer than the agent's patience with nobody: its controller is still there.
TEST_F(ExecutorTest, DoesNotEndWhileAConnectionIsOpen) {
  Executor executor(system_, journal_, paths_, {.boot_id = kBootId, .idle_exit = Millis(0)});
  executor.connections(1);
  std::jthread thread([&] { executor.run(); });
  for (int i = 0; i < 50; ++i) {  // without the connection, the first turn is the last
    const auto overview = executor.overview();
    ASSERT_TRUE(overview) << overview.error().message;
  }
  executor.connections(0);
  thread.join();  // ends
  EXPECT_FALSE(executor.overview());
}

TEST_F(ExecutorTest, SpeaksGrpcOverItsSocket) {
  Life life(system_, journal_, paths_);
  ASSERT_TRUE(make_private_dir(paths_.run()));
  auto server = RpcServer::start(paths_.socket(), life.executor, system_, "abc");
  ASSERT_TRUE(server) << server.error().message;
  struct stat info {};
  ASSERT_EQ(::stat(paths_.socket().c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600u);
  const auto stub =
      v1::Agent::NewStub(grpc::CreateChannel("unix:" + paths_.socket(), grpc::InsecureChannelCredentials()));

  v1::HelloReply hello;
  grpc::ClientContext c1;
  ASSERT_TRUE(stub->Hello(&c1, {}, &hello).ok());
  EXPECT_EQ(hello.build(), "abc");

  v1::BeginRequest begin;
  wire::to_proto(test_spec(), *begin.mutable_spec());
  v1::BeginReply begun;
  grpc::ClientContext c2;
  ASSERT_TRUE(stub->Begin(&c2, begin, &begun).ok());
  begin.mutable_spec()->mutable_profiles(0)->set_new_path("/etc/passwd");
  grpc::ClientContext c3;
  EXPECT_EQ(stub->Begin(&c3, begin, &begun).error_code(), grpc::StatusCode::INVALID_ARGUMENT);

  life.wait(test_spec().deployment, Phase::kAwaitingConfirmation);
  v1::ConfirmRequest confirm;
  confirm.set_deployment(test_spec().deployment.str());
  confirm.set_nonce(kNonce);
  v1::Observation seen;
  grpc::ClientContext c4;
  ASSERT_TRUE(stub->Confirm(&c4, confirm, &seen).ok());
  EXPECT_GE(seen.phase(), v1::PHASE_CONFIRMED);
  life.wait(test_spec().deployment);

  v1::InspectReply inspected;
  grpc::ClientContext c5;
  ASSERT_TRUE(stub->Inspect(&c5, {}, &inspected).ok());
  EXPECT_EQ(inspected.state().running(), kNew.str());
  EXPECT_EQ(inspected.last().outcome(), "succeeded");
  v1::HistoryReply history;
  grpc::ClientContext c6;
  ASSERT_TRUE(stub->History(&c6, {}, &history).ok());
  EXPECT_EQ(history.deployments_size(), 1);
  life.executor.stop();
}

// Silence, half a preface, garbage; more of them than the process has descriptors to give away.
TEST_F(ExecutorTest, ServesAControllerAmongConnectionsThatSayNothingSensible) {
  Life life(system_, journal_, paths_);
  ASSERT_TRUE(make_private_dir(paths_.run()));
  auto server = RpcServer::start(paths_.socket(), life.executor, system_, "abc");
  ASSERT_TRUE(server) << server.error().message;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, paths_.socket().c_str(), paths_.socket().size() + 1);
  std::vector<sys::Fd> hostile;
  for (int i = 0; i < 400; ++i) {
    sys::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    const std::string said = i % 3 == 0 ? "" : i % 3 == 1 ? "PRI * HTTP/2.0\r\n" : std::string(5000, '\xff');
    static_cast<void>(::send(fd.get(), said.data(), said.size(), MSG_NOSIGNAL));
    hostile.push_back(std::move(fd));
  }
  const auto stub =
      v1::Agent::NewStub(grpc::CreateChannel("unix:" + paths_.socket(), grpc::InsecureChannelCredentials()));
  v1::HelloReply hello;
  grpc::ClientContext context;
  context.set_wait_for_ready(true);
  context.set_deadline(std::chrono::system_clock::now() + kPatience);
  const auto status = stub->Hello(&context, {}, &hello);
  EXPECT_TRUE(status.ok()) << status.error_message();
  size_t open = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++open;
  EXPECT_LT(open, 400 + 300u) << "ours among them";
  life.executor.stop();
}

// Each holds one of the server's few threads.
TEST_F(ExecutorTest, LongPollsKeepNobodyFromBeingAnswered) {
  Life life(system_, journal_, paths_);
  ASSERT_TRUE(make_private_dir(paths_.run()));
  auto server = RpcServer::start(paths_.socket(), life.executor, system_, "abc");
  ASSERT_TRUE(server) << server.error().message;
  const auto stub =
      v1::Agent::NewStub(grpc::CreateChannel("unix:" + paths_.socket(), grpc::InsecureChannelCredentials()));
  std::atomic<bool> is_enough = false;
  std::vector<std::jthread> pollers;
  for (int i = 0; i < 60; ++i)
    pollers.emplace_back([&] {
      v1::Observation known;
      while (!is_enough) {
        v1::ObserveRequest request;
        request.set_deployment(test_spec().deployment.str());
        request.set_seen_revision(known.revision());
        request.set_wait_ms(5000);
        grpc::ClientContext context;
        context.set_deadline(std::chrono::system_clock::now() + kPatience);
        static_cast<void>(stub->Observe(&context, request, &known).ok());
      }
    });
  int served = 0;
  for (const TimePoint until = sys::now() + kPatience; served < 20 && sys::now() < until;) {
    v1::HistoryReply history;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kPatience);
    if (stub->History(&context, {}, &history).ok()) ++served;
  }
  is_enough = true;
  EXPECT_EQ(served, 20);
  life.executor.stop();
}

TEST(RunSwitch, TellsHowASwitchEnded) {
  const TempDir dir;
  const std::string status = dir.str() + "/unit";
  EXPECT_FALSE(wait_for_switch(status, {})->exit_code) << "never was";
  EXPECT_EQ(run_switch_main(status, {"sh", "-c", "exit 4"}), 0);
  EXPECT_EQ(wait_for_switch(status, {})->exit_code, 4);
  ::unlink(status.c_str());

  const pid_t wrapper = ::fork();
  if (wrapper == 0) ::_exit(run_switch_main(status, {"sleep", "30"}));
  while (!*FileLock::is_held(status + ".lock")) ::usleep(10'000);
  ::kill(wrapper, SIGKILL);
  ::waitpid(wrapper, nullptr, 0);
  EXPECT_FALSE(wait_for_switch(status, {})->exit_code) << "killed";
}

}  // namespace
}  // namespace flurry::agent
