#pragma once

#include <list>

#include "tests/sim/host.h"
#include "tests/sim/plan.h"
#include "tests/sim/truth.h"

namespace flurry::sim {

// What must hold at every moment of a story, and what each outcome means: `expect_true`. Watches the hosts
// from the outside and knows nothing of how the production code decides.
class Invariants {
 public:
  Invariants(Timeline& timeline, std::list<Host>& hosts);

  void know(const Plan& plan);
  void undo_is_wanted(size_t host, const DeploymentId& id);
  void confirm_arrives(size_t host, const DeploymentId& id);
  void reported(size_t host, const DeploymentId& id, const HostResult& result);
  void check(size_t host);
  // When nobody acts any more and somebody has looked.
  void check_end();

  const std::optional<std::string>& broken() const { return broken_; }
  Millis longest_overdue() const { return longest_overdue_; }
  const std::map<Outcome, size_t>& outcomes() const { return outcomes_; }

 private:
  struct Story {
    std::optional<Truth> baseline;  // when the agent looked at it
    std::optional<Truth> before;    // as the journal has it
    uint64_t seen = 0;              // disturbances up to the last look
    bool is_undo_wanted = false;
    bool is_turned_back = false;
    bool is_touched = false;
    bool confirm_arrived = false;
    TimePoint deadline{};  // of the way forward
    TimePoint deadline_back{};
    std::optional<ActivationSpec> spec;
    std::optional<Outcome> durable;  // outcome
    std::optional<Outcome> told;
    std::optional<Outcome> reported;
  };
  struct Ledger {
    Host* host;
    std::set<StorePath> may_run;
    std::set<StorePath> may_boot;
    std::map<DeploymentId, Story> stories;
  };

  void on_read(Ledger& ledger, const DeploymentId& id, bool is_baseline);
  void on_switch(Ledger& ledger, const effect::RunSwitch& what, const ActivationSpec& spec);
  void on_durable(Ledger& ledger, const ActivationRecord& record);
  void on_outcome(Ledger& ledger, const ActivationRecord& record);
  void expect_true(const Ledger& ledger, const Story& story, const ActivationRecord& record);
  void expect_new(const Ledger& ledger, const Story& story, const ActivationRecord& record);
  void expect_superseded(const Ledger& ledger, const Story& story, const ActivationRecord& record,
                         const Truth& now);
  void expect_reason_to_turn_back(const Ledger& ledger, Story& story, const ActivationRecord& record);
  bool is_third_system(const Story& story, const ActivationSpec& spec,
                       const std::optional<StorePath>& path) const;
  void expect_to_be_ours(Ledger& ledger, const ActivationSpec& spec, const std::optional<StorePath>& path,
                         const std::string& what);
  std::string not_back(const Ledger& ledger, const Story& story, const ActivationRecord& record,
                       const Truth& now) const;
  bool may_differ(const Ledger& ledger, Outcome told, Outcome durable) const;
  bool may_still_switch(const Ledger& ledger) const;
  Millis overdue(const Ledger& ledger) const;
  void fail(const Ledger& ledger, const std::string& what);

  Timeline& timeline_;
  std::vector<Ledger> ledgers_;
  std::map<DeploymentId, Plan> plans_;
  std::optional<std::string> broken_;
  Millis longest_overdue_{0};
  std::map<Outcome, size_t> outcomes_;
};

}  // namespace flurry::sim
