#include "eval/eval_schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "eval/eval_place.h"

namespace flurry::eval {
namespace {

constexpr size_t kMiB = size_t{1} << 20;

std::vector<size_t> one_group(size_t tasks) { return std::vector<size_t>(tasks, 0); }

// Runs a schedule as if each task took so much memory for itself, and ends the jobs one after another.
struct World {
  std::vector<size_t> needs;  // MiB
  EvalSchedule::Limits limits;
  std::vector<size_t> groups = one_group(needs.size());

  size_t most_granted = 0;  // at a time
  size_t jobs = 0;
  std::map<size_t, int> answers = {};
  std::set<size_t> impossible = {};

  void run() {
    EvalSchedule schedule(groups, limits);
    std::map<size_t, EvalSchedule::Job> running;
    for (int turn = 0; turn < 10'000 && !schedule.is_finished(); ++turn) {
      for (auto step = schedule.next(); step.start; step = schedule.next()) {
        if (step.cut) running.at(step.cut->job).tasks.resize(step.cut->keep);
        ++jobs;
        running.emplace(step.start->id, *step.start);
        size_t granted = 0;
        for (const auto& [id, job] : running) granted += job.memory;
        most_granted = std::max(most_granted, granted);
      }
      ASSERT_FALSE(running.empty()) << "nothing runs, and nothing is finished";
      end(schedule, running.begin()->second);
      running.erase(running.begin());
    }
    EXPECT_TRUE(schedule.is_finished());
  }

 private:
  void end(EvalSchedule& schedule, const EvalSchedule::Job& job) {
    EvalSchedule::End end;
    size_t taken = 0;
    for (const size_t task : job.tasks) {
      EXPECT_EQ(groups[task], groups[job.tasks[0]]);
      taken += needs[task] * kMiB;
      if (taken > job.memory) {
        end.out_of_memory = true;
        break;
      }
      if (end.done == 0) end.first_peak = taken;
      ++end.done;
      ++answers[task];
      schedule.answered(job.id);
    }
    if (const auto task = schedule.ended(job.id, end)) impossible.insert(*task);
  }
};

TEST(EvalSchedule, AnswersEachTaskOnceWithinTheBudget) {
  World world{.needs = std::vector<size_t>(57, 150), .limits = {4, 2000 * kMiB}};
  world.run();
  EXPECT_EQ(world.answers.size(), 57u);
  for (const auto& [task, times] : world.answers) EXPECT_EQ(times, 1) << task;
  EXPECT_LE(world.most_granted, 2000 * kMiB);
  EXPECT_LT(world.jobs, 30u);
}

TEST(EvalSchedule, StartsNoMoreProcessesThanWorkers) {
  EvalSchedule schedule(one_group(100), {3, size_t{64} << 30});
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(schedule.next().start);
  EXPECT_FALSE(schedule.next().start);
}

TEST(EvalSchedule, RunsATaskThatNeedsMoreThanItsShareByItself) {
  World world{.needs = {100, 100, 100, 900, 100, 100}, .limits = {4, 1000 * kMiB}};
  world.run();
  EXPECT_EQ(world.answers.size(), 6u);
  EXPECT_LE(world.most_granted, 1000 * kMiB);
}

TEST(EvalSchedule, GivesUpOnlyTheTaskThatNeedsMoreThanTheWholeBudget) {
  World world{.needs = {100, 2000, 100}, .limits = {2, 1000 * kMiB}};
  world.run();
  EXPECT_EQ(world.impossible, std::set<size_t>{1});
  EXPECT_EQ(world.answers.size(), 2u);
}

TEST(EvalSchedule, WorksInABudgetThatIsSmallerThanAnyHost) {
  World world{.needs = {400, 500, 600}, .limits = {8, 128 * kMiB}};
  world.run();
  EXPECT_EQ(world.impossible.size(), 3u);
}

TEST(EvalSchedule, PutsNoTwoGroupsIntoOneProcess) {
  World world{.needs = std::vector<size_t>(12, 100), .limits = {2, 4000 * kMiB}};
  for (size_t i = 6; i < 12; ++i) world.groups[i] = 1;
  world.run();
  EXPECT_EQ(world.answers.size(), 12u);
}

TEST(EvalSchedule, GivesTheRestOfAJobToWhoHasNothingToDo) {
  EvalSchedule schedule(one_group(16), {2, size_t{64} << 30});
  const auto first = schedule.next();
  const auto second = schedule.next();
  ASSERT_TRUE(first.start && second.start);
  ASSERT_EQ(first.start->tasks.size() + second.start->tasks.size(), 16u);
  for (size_t i = 0; i < second.start->tasks.size(); ++i) schedule.answered(second.start->id);
  EXPECT_FALSE(schedule.ended(second.start->id, {.done = second.start->tasks.size()}));
  const auto stolen = schedule.next();
  ASSERT_TRUE(stolen.start && stolen.cut);
  EXPECT_EQ(stolen.cut->job, first.start->id);
  EXPECT_EQ(stolen.cut->keep + stolen.start->tasks.size(), first.start->tasks.size());
}

TEST(EvalSchedule, TriesTheOthersOfADeadProcessAgain) {
  EvalSchedule schedule(one_group(4), {1, size_t{64} << 30});
  const auto job = schedule.next();
  ASSERT_EQ(job.start->tasks.size(), 4u);
  EXPECT_FALSE(schedule.ended(job.start->id, {.done = 2}));
  const auto rest = schedule.next();
  ASSERT_TRUE(rest.start);
  EXPECT_EQ(rest.start->tasks, (std::vector<size_t>{2, 3}));
}

TEST(DerivationPaths, AreReadStrictly) {
  const std::string drv = "/nix/store/" + std::string(32, 'a') + "-x.drv";
  const std::string out = "/nix/store/" + std::string(32, 'b') + "-x";
  EXPECT_TRUE(parse_paths(drv + " " + out));
  for (const auto& text : {std::string(), drv, drv + " ", " " + out, drv + "  " + out, drv + " " + out + " x",
                           drv + " /etc/passwd", drv + " " + out + "/bin"})
    EXPECT_FALSE(parse_paths(text)) << text;
}

}  // namespace
}  // namespace flurry::eval
