#include <gtest/gtest.h>

#include <thread>

#include "cli/report/json_reporter.h"
#include "cli/report/plain_reporter.h"
#include "cli/verbs/verbs.h"
#include "core/sys/clock.h"
#include "tests/unit/cli/string_sink.h"

namespace flurry {
namespace {

class NoTransport : public Transport {
 public:
  Result<std::unique_ptr<Connection>> dial(const Target&, TimePoint) override {
    ADD_FAILURE() << "a host was contacted";
    return Error{ErrorKind::kUnreachable, "none"};
  }
};

StorePath path(char hash, const std::string& name) {
  return *StorePath::parse("/nix/store/" + std::string(32, hash) + "-" + name);
}

// Host `bad` has an error; the others have a system and a profile.
class FakeEvaluator : public eval::Evaluator {
 public:
  Result<Fleet> load_hosts(const std::string&, const Selector* wanted, TimePoint, std::stop_token) override {
    Fleet fleet;
    for (const char* name : {"bad", "web"})
      if (wanted == nullptr || wanted->text() == name)
        fleet.hosts.push_back({.name = *HostName::parse(name), .target_hosts = {name}});
    return fleet;
  }

  void evaluate(const Fleet& fleet, const std::vector<size_t>& hosts, const OnHost& on_host, TimePoint,
                std::stop_token stop) override {
    for (const size_t host : hosts) {
      while (waits_for_stop && !stop.stop_requested()) std::this_thread::yield();
      if (fleet.hosts[host].name.str() == "bad")
        on_host(host, Error{ErrorKind::kFailed, "evaluation: assertion\n  at line 3"});
      else
        on_host(host, HostDerivations{{{{"system", "root", ""}, path('a', "sys.drv"), path('b', "sys")},
                                       {{"home", "alice", ""}, path('c', "home.drv"), path('d', "home")}}});
    }
  }

  bool waits_for_stop = false;
};

struct EvalRun {
  Options options;
  eval::EvalOptions eval_options;
  StringSink out, err;
  ReportClock clock{[] { return TimePoint{}; }, [] { return 1LL; }};
  NoTransport transport;
  FakeEvaluator evaluator;
  Happenings happenings{16};

  int with(Reporter& reporter) {
    Context context{options, eval_options, reporter, transport, evaluator, happenings};
    return run_eval(context);
  }
};

TEST(EvalVerb, PrintsEachDerivationAndWhatIsWrongWithTheOthers) {
  EvalRun run;
  PlainReporter reporter({run.out, run.err}, run.clock, 0);
  EXPECT_EQ(run.with(reporter), 2);
  const std::string name = "web" + std::string(17, ' ') + "  ";
  EXPECT_EQ(run.out.text(), name + path('a', "sys.drv").str() + "\n" + name + path('c', "home.drv").str() +
                                "  profile home\n");
  EXPECT_EQ(run.err.text(), "bad | evaluation: assertion\nbad |   at line 3\n");
}

TEST(EvalVerb, PrintsOneObjectForEachHost) {
  EvalRun run;
  run.options.on = "web";
  JsonReporter reporter(run.out, run.clock);
  EXPECT_EQ(run.with(reporter), 0);
  EXPECT_EQ(run.out.text(),
            "{\"unix_ms\":\"1\",\"deployment\":\"\",\"host_evaluated\":{\"host\":\"web\",\"error\":\"\","
            "\"profiles\":[{\"profile\":\"system\",\"drv\":\"" +
                path('a', "sys.drv").str() + "\",\"out\":\"" + path('b', "sys").str() +
                "\"},{\"profile\":\"home\",\"drv\":\"" + path('c', "home.drv").str() + "\",\"out\":\"" +
                path('d', "home").str() + "\"}]}}\n");
}

TEST(EvalVerb, EndsWhenTheUserInterrupts) {
  EvalRun run;
  run.evaluator.waits_for_stop = true;
  run.happenings.push(Interrupted{});
  PlainReporter reporter({run.out, run.err}, run.clock, 0);
  EXPECT_EQ(run.with(reporter), 130);
  EXPECT_EQ(run.err.text(), "flurry: error: interrupted: nothing was changed\n");
}

}  // namespace
}  // namespace flurry
