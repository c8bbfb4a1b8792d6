#include "core/switch_report.h"

#include <gtest/gtest.h>

namespace flurry {
namespace {

using Names = std::vector<std::string>;

TEST(SwitchReport, NamesWhatTheSwitchStoppedStartedRestartedAndReloaded) {
  const auto report = parse_switch_report(
      "stopping the following units: app.service, web.service\n"
      "activating the configuration...\n"
      "reloading the following units: dbus.service\n"
      "restarting the following units: sshd.service\n"
      "starting the following units: app.service, web.service\n");
  EXPECT_EQ(report.queued_units, (Names{"app.service", "web.service", "dbus.service", "sshd.service"}));
  EXPECT_TRUE(report.has_begun);
  EXPECT_FALSE(report.explains_failure());
}

TEST(SwitchReport, KnowsThatNothingHadBegun) {
  EXPECT_FALSE(parse_switch_report("Pre-switch checks failed\n").has_begun);
  EXPECT_FALSE(parse_switch_report("NOT restarting the following changed units: a.service\n").has_begun);
  EXPECT_TRUE(parse_switch_report("activating the configuration...\n").has_begun);
}

TEST(SwitchReport, KnowsAFailedActivationByEitherOfItsLines) {
  EXPECT_TRUE(parse_switch_report("Failed to run activate script\n").has_activation_failed);
  EXPECT_TRUE(parse_switch_report("Activation script snippet 'users' failed (1)\n").has_activation_failed);
  EXPECT_FALSE(parse_switch_report("setting up /etc...\n").has_activation_failed);
}

TEST(SwitchReport, NamesFailedJobsUnitsAndUsers) {
  const auto report = parse_switch_report(
      "Failed to reload rel.service\n"
      "Failed to restart sysinit-reactivation.target: Unit sysinit-reactivation.target not found.\n"
      "Failed to stop mnt-f.mount\n"
      "Failed to stop mnt-f.mount\n"
      "warning: user activation for alice failed\n"
      "warning: the following units failed: a.service, b@1.service\n");
  EXPECT_EQ(report.failed_jobs, (std::vector<SwitchReport::Job>{{"reload", "rel.service"},
                                                                {"restart", "sysinit-reactivation.target"},
                                                                {"stop", "mnt-f.mount"}}));
  EXPECT_EQ(report.failed_users, Names{"alice"});
  EXPECT_EQ(report.failed_units, (Names{"a.service", "b@1.service"}));
}

TEST(SwitchReport, TakesOtherLinesForNothing) {
  const auto report = parse_switch_report(
      "Failed to connect to bus\nFailed to start\nFailed to start the thing\nFailed to start nothing.conf\n"
      "  Failed to start a.service\nstopping the following units: nothing here\n");
  EXPECT_TRUE(report.failed_jobs.empty());
  EXPECT_TRUE(report.queued_units.empty());
  EXPECT_FALSE(report.explains_failure());
}

}  // namespace
}  // namespace flurry
