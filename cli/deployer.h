#pragma once

#include "cli/host_runner.h"
#include "cli/reporter.h"
#include "core/rollout.h"

namespace flurry {

// The controller's one loop: asks the rollout for actions, gives them to the runner, waits until
// something happens or is due, tells the reporter. Main thread only.
class Deployer {
 public:
  Deployer(const Fleet& fleet, Rollout& rollout, HostRunner& runner, Happenings& happenings,
           Reporter& reporter)
      : fleet_(fleet), rollout_(rollout), runner_(runner), happenings_(happenings), reporter_(reporter) {}

  // Returns when every host has its outcome, or the user has detached.
  std::vector<HostResult> run();

 private:
  std::vector<RolloutEvent> wait();
  void report(TimePoint now);

  const Fleet& fleet_;
  Rollout& rollout_;
  HostRunner& runner_;
  Happenings& happenings_;
  Reporter& reporter_;
  std::vector<Stage> reported_;
  std::vector<bool> reported_end_;
  TimePoint started_{};
};

}  // namespace flurry
