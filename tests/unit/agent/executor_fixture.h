#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <functional>
#include <optional>
#include <thread>
#include <utility>

#include "agent/executor.h"
#include "core/sys/clock.h"
#include "tests/unit/agent/fake_system.h"
#include "tests/unit/agent/temp_dir.h"

namespace flurry::agent {

inline constexpr Millis kPatience{10'000};

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

  // Whether it was seen in that phase, which is one that it stays in.
  bool reaches(const DeploymentId& id, Phase phase) {
    const auto seen = wait(id, phase);
    return seen && seen->record.phase == phase;
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

}  // namespace flurry::agent
