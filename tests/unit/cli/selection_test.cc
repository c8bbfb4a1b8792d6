#include <gtest/gtest.h>

#include "cli/report/plain_reporter.h"
#include "cli/verbs/verbs.h"
#include "tests/unit/cli/string_sink.h"

// Whom a verb is for.
namespace flurry {
namespace {

class NoTransport : public Transport {
 public:
  Result<std::unique_ptr<Connection>> dial(const Target&, TimePoint) override {
    ADD_FAILURE() << "a host was contacted";
    return Error{ErrorKind::kUnreachable, "none"};
  }
};

class GivenFleet : public eval::Evaluator {
 public:
  Result<Fleet> load_hosts(const std::string&, const Selector* wanted, TimePoint, std::stop_token) override {
    Fleet out = fleet;
    if (wanted == nullptr) return out;
    out.hosts.clear();
    const auto chosen = wanted->select(fleet);
    if (!chosen) return chosen.error();
    for (const size_t host : *chosen) out.hosts.push_back(fleet.hosts[host]);
    return out;
  }
  void evaluate(const Fleet&, const std::vector<size_t>&, const OnHost&, TimePoint,
                std::stop_token) override {
    ADD_FAILURE() << "something was evaluated";
  }

  Fleet fleet;
};

struct VerbRun {
  Options options;
  eval::EvalOptions eval_options;
  StringSink out, err;
  ReportClock clock{[] { return TimePoint{}; }, [] { return 1LL; }};
  NoTransport transport;
  GivenFleet evaluator;
  Happenings happenings{16};

  HostConfig& add(const char* name) {
    return evaluator.fleet.hosts.emplace_back(
        HostConfig{.name = *HostName::parse(name), .target_hosts = {name}});
  }

  // The names of those that are selected, or the refusal.
  std::string selected(Reach reach) {
    PlainReporter reporter({out, err}, clock, 0);
    Context context{options, eval_options, reporter, transport, evaluator, happenings};
    const auto fleet = load_selected(context, reach);
    if (!fleet) return fleet.error().message;
    std::string names;
    for (const auto& host : fleet->hosts) names += (names.empty() ? "" : " ") + host.name.str();
    return names;
  }

  int hosts() {
    PlainReporter reporter({out, err}, clock, 0);
    Context context{options, eval_options, reporter, transport, evaluator, happenings};
    return run_hosts(context);
  }
  int deploy() {
    PlainReporter reporter({out, err}, clock, 0);
    Context context{options, eval_options, reporter, transport, evaluator, happenings};
    return run_deploy(context);
  }
};

TEST(Selection, AHostThatNoSshLeadsToIsLeftOutOnlyOfWhatNeedsIt) {
  VerbRun run;
  run.add("laptop").target_hosts.clear();
  run.add("web");
  EXPECT_EQ(run.selected(Reach::kNone), "laptop web");
  EXPECT_EQ(run.err.text(), "");
  EXPECT_EQ(run.selected(Reach::kBySsh), "web");
  EXPECT_NE(run.err.text().find("laptop: can't be reached over SSH: deployment.targetHost is null, so it is "
                                "left out"),
            std::string::npos)
      << run.err.text();
  run.options.on = "laptop";
  EXPECT_TRUE(run.selected(Reach::kBySsh).starts_with("laptop: can't be reached over SSH"));
  EXPECT_EQ(run.selected(Reach::kNone), "laptop");
}

TEST(Selection, OneProfileIsItsHostWhereItIsTheOnlyOneAndElseRefused) {
  VerbRun run;
  run.add("plain");
  run.add("web").profiles["home"] = {.user = "ann", .has_path = true};
  run.options.fragment_hosts = {"plain.system"};
  EXPECT_EQ(run.selected(Reach::kBySsh), "plain");
  run.options.fragment_hosts = {"web.home"};
  EXPECT_EQ(run.selected(Reach::kBySsh),
            "web.home: one profile of a host can't be chosen alone yet: all of web's belong to one "
            "deployment: write web");
  run.options.fragment_hosts = {"web.tools"};
  EXPECT_EQ(run.selected(Reach::kBySsh), "no host is named 'web.tools', and web has no profile 'tools'");
}

TEST(Selection, TheFleetIsWantedByNameOnlyForWhatSwitches) {
  VerbRun run;
  run.add("bad").error = Error{ErrorKind::kInvalidInput, "wrong"};
  run.evaluator.fleet.needs_selection = true;
  run.options.goal = Goal::kSwitch;
  EXPECT_EQ(run.deploy(), 1);
  EXPECT_NE(run.err.text().find("allowApplyAll is false"), std::string::npos) << run.err.text();
  VerbRun building;
  building.add("bad").error = Error{ErrorKind::kInvalidInput, "wrong"};
  building.evaluator.fleet.needs_selection = true;
  building.options.goal = Goal::kBuild;
  EXPECT_EQ(building.deploy(), 1) << "by the host's own error";
  EXPECT_EQ(building.err.text().find("allowApplyAll"), std::string::npos) << building.err.text();
}

TEST(Selection, HostsTellsWhatIsWrongWithOneBesideTheOthers) {
  VerbRun run;
  run.add("bad").error = Error{ErrorKind::kInvalidInput, "flurry.hosts.bad.tags: wrong\nand more"};
  run.add("web");
  EXPECT_EQ(run.hosts(), 1);
  EXPECT_EQ(run.err.text(), "bad | flurry.hosts.bad.tags: wrong\nbad | and more\n");
  EXPECT_TRUE(run.out.text().starts_with("web ")) << run.out.text();
  run.evaluator.fleet.hosts[0].error->kind = ErrorKind::kFailed;
  EXPECT_EQ(run.hosts(), 2);
}

}  // namespace
}  // namespace flurry
