#include "eval/build_schedule.h"

#include <gtest/gtest.h>

#include "eval/builds.h"

namespace flurry::eval {
namespace {

TEST(BuildSchedule, GivesNoMoreJobsThanTheUserAllows) {
  for (const size_t jobs : {1, 2, 3, 8, 100}) {
    BuildSchedule schedule(jobs);
    size_t granted = 0;
    for (size_t request = 0; request < 50; ++request) {
      schedule.add(request);
      while (const auto program = schedule.next(true)) {
        EXPECT_GT(program->jobs, 0u);
        granted += program->jobs;
      }
    }
    EXPECT_LE(granted, jobs);
  }
}

TEST(BuildSchedule, LeavesAJobForWhatComesLater) {
  BuildSchedule schedule(4);
  schedule.add(1);
  EXPECT_EQ(schedule.next(true)->jobs, 3u);
  schedule.add(2);
  EXPECT_TRUE(schedule.next(true));
}

TEST(BuildSchedule, GivesAProgramNoMoreRequestsThanJobs) {
  BuildSchedule schedule(4);
  for (size_t request = 0; request < 9; ++request) schedule.add(request);
  EXPECT_EQ(schedule.next(true)->requests, (std::vector<size_t>{0, 1, 2}));
  EXPECT_EQ(schedule.next(true)->requests, (std::vector<size_t>{3}));
  EXPECT_FALSE(schedule.next(true));
  schedule.ended(0);
  EXPECT_EQ(schedule.next(false)->requests, (std::vector<size_t>{4, 5, 6}));
}

TEST(BuildSchedule, GivesAllToTheLast) {
  BuildSchedule schedule(4);
  schedule.add(1);
  EXPECT_EQ(schedule.next(false)->jobs, 4u);
  schedule.add(2);
  EXPECT_FALSE(schedule.next(false));
  schedule.ended(0);
  EXPECT_EQ(schedule.next(false)->jobs, 4u);
}

TEST(BuildSchedule, RunsAFewProgramsWhereAllBuildersAreRemote) {
  BuildSchedule schedule(0);
  size_t programs = 0;
  for (size_t request = 0; request < 50; ++request) {
    schedule.add(request);
    while (const auto program = schedule.next(true)) {
      EXPECT_EQ(program->jobs, 0u);
      ++programs;
    }
  }
  EXPECT_EQ(programs, 8u);
}

TEST(Jobs, AreThoseOfTheSettingOrOneForEachCore) {
  EXPECT_EQ(jobs_of("3", 8), 3u);
  EXPECT_EQ(jobs_of("0", 8), 0u);
  EXPECT_EQ(jobs_of("auto", 8), 8u);
  EXPECT_EQ(jobs_of("", 8), 8u);
}

}  // namespace
}  // namespace flurry::eval
