#pragma once

#include <list>

#include "tests/sim/host.h"
#include "tests/sim/plan.h"

namespace flurry::sim {

// What must hold at every moment of a story, and what each outcome means: `expect_true`. Watches the hosts
// from the outside and knows nothing of how the production code decides.
class Invariants {
 public:
  Invariants(Timeline& timeline, std::list<Host>& hosts);

  void know(const Plan& plan);
  void confirm_arrives(size_t host, const DeploymentId& id);
  void reported(size_t host, const DeploymentId& id, const HostResult& result);
  void check(size_t host);
  // When nobody acts any more and somebody has looked.
  void check_end();

  const std::optional<std::string>& broken() const { return broken_; }
  Millis longest_overdue() const { return longest_overdue_; }
  const std::map<Outcome, size_t>& outcomes() const { return outcomes_; }

 private:
  // A host as it was before a deployment.
  struct Snapshot {
    std::optional<StorePath> running;
    std::optional<StorePath> boot_default;
    std::optional<StorePath> profile;
    std::map<std::string, std::optional<StorePath>> users;
    bool operator==(const Snapshot&) const = default;
  };
  struct Story {
    std::optional<Snapshot> before;
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

  Snapshot look(const Host& host) const;
  void on_switch(Ledger& ledger, const effect::RunSwitch& what, const ActivationSpec& spec);
  void on_durable(Ledger& ledger, const ActivationRecord& record);
  void on_outcome(Ledger& ledger, const ActivationRecord& record);
  void expect_true(const Ledger& ledger, const Story& story, const ActivationRecord& record);
  void expect_new(const Ledger& ledger, const ActivationRecord& record);
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
