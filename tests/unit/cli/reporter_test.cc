#include <google/protobuf/util/json_util.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "cli/report/human_text.h"
#include "cli/report/json_reporter.h"
#include "cli/report/plain_reporter.h"
#include "cli/report/tty_reporter.h"
#include "flurry/v1/event.pb.h"
#include "tests/unit/cli/string_sink.h"

namespace flurry {
namespace {

const std::string kHostile =
    "bad\x1b[2J\x1b]0;t\x07\nline\xff\xc2\x9b"
    "31m \x08x";

struct Fixture {
  StringSink out, err;
  TimePoint now{Millis(1'000)};
  ReportClock clock{[this] { return now; }, [] { return 1'700'000'000'000LL; }};
  void advance(Reporter& reporter, int ms) {
    now += Millis(ms);
    reporter.tick(now);
  }
};

void play(Fixture& f, Reporter& reporter) {
  const HostResult good{Outcome::kSucceeded, Stage::kEnded, "", "", "", ""};
  const HostResult same{Outcome::kUnchanged, Stage::kEnded, "", "", "", ""};
  const HostResult built{Outcome::kFailedUnchanged, Stage::kBuild, "the build failed", "", "", ""};
  const HostResult back{
      Outcome::kRolledBack, Stage::kCheck, "check site: status 500", "starting nginx\n" + kHostile, "", ""};
  reporter.started({"01J",
                    "./fleet",
                    "4f2a1b9c0d",
                    Goal::kSwitch,
                    "alice@laptop",
                    {"db", "mail", "web-01", "web-02"},
                    false});
  for (const auto* host : {"db", "mail", "web-01", "web-02"}) reporter.stage(host, Stage::kPreflight);
  f.advance(reporter, 500);
  reporter.ended("db", same, Millis(500));
  reporter.stage("mail", Stage::kBuild);
  reporter.log("mail", Stage::kBuild, "error: " + kHostile);
  reporter.stage("web-01", Stage::kCopy);
  reporter.copying("web-01", {4 << 20, 0, 2, 0});
  f.advance(reporter, 1000);
  reporter.copying("web-01", {4 << 20, 1 << 20, 2, 1, 200 << 10});
  reporter.ended("mail", built, Millis(1500));
  f.advance(reporter, 1000);
  reporter.copied("db", {.closure_paths = 521, .closure_bytes = 900 << 20});
  reporter.copied("web-01", {.closure_paths = 523,
                             .closure_bytes = 1 << 30,
                             .copied_paths = 2,
                             .copied_bytes = 4 << 20,
                             .delta_paths = 1,
                             .delta_bytes = 3 << 20,
                             .wire_bytes = 600 << 10,
                             .elapsed = Millis(1500)});
  reporter.stage("web-01", Stage::kActivate);
  reporter.stage("web-02", Stage::kCheck);
  f.advance(reporter, 10'000);
  reporter.ended("web-01", good, Millis(12'500));
  reporter.ended("web-02", back, Millis(12'500));
  f.advance(reporter, 100);
  reporter.note("note " + kHostile);
  reporter.finished({same, built, good, back}, 4, Millis(12'600));
}

// What a terminal would obey: of escape sequences only our own.
void expect_harmless(std::string text, bool is_tty) {
  if (is_tty) {
    size_t at = 0;
    while ((at = text.find("\x1b[", at)) != std::string::npos) {
      const size_t end = text.find_first_of("AKJmhl", at);
      ASSERT_NE(end, std::string::npos);
      text.erase(at, end - at + 1);
    }
  }
  for (const char c : text) {
    const bool is_fine = static_cast<unsigned char>(c) >= 0x20 || c == '\n' || (is_tty && c == '\r');
    EXPECT_TRUE(is_fine && c != '\x7f') << static_cast<int>(c);
  }
  EXPECT_EQ(text.find('\xff'), std::string::npos);
}

constexpr std::string_view kSummary =
    "\n"
    "db      unchanged                  0.5s\n"
    "mail    failed-unchanged in build  1.5s    the build failed\n"
    "web-01  succeeded                  12s\n"
    "web-02  rolled-back in check       12s     check site: status 500\n"
    "\n"
    "copied 2 paths, 4.0 MiB, as 600.0 KiB on the wire (85 % saved), 1 of them as deltas; 1042 were there\n"
    "1 of 4 hosts rolled back; 1 failed with nothing switched; 1 succeeded; 1 unchanged (12s)\n";

TEST(PlainReporter, Run) {
  Fixture f;
  PlainReporter reporter({f.out, f.err}, f.clock, 0);
  play(f, reporter);
  EXPECT_EQ(f.out.text(), kSummary);
  EXPECT_EQ(f.err.text(),
            "deploying (switch) 4 hosts from ./fleet at 4f2a1b9, deployment 01J\n"
            "flurry: WARNING: magic rollback is OFF: a host that cannot be reached after the switch stays as "
            "it is\n"
            "db | preflight\nmail | preflight\nweb-01 | preflight\nweb-02 | preflight\n"
            "db | unchanged after 0.5s\n"
            "mail | build\n"
            "web-01 | copy\n"
            "mail | failed-unchanged in build after 1.5s\n"
            "mail |     the build failed\n"
            "mail |     > error: bad line\xEF\xBF\xBD x\n"
            "web-01 | copied 2 paths, 4.0 MiB, as 600.0 KiB on the wire (85 % saved), 1 of them as deltas; "
            "521 were "
            "there\n"
            "web-01 | activate\n"
            "web-02 | check\n"
            "web-01 | succeeded after 12s\n"
            "web-02 | rolled-back in check after 12s\n"
            "web-02 |     check site: status 500\n"
            "web-02 |     > starting nginx\n"
            "web-02 |     > bad\n"
            "web-02 |     > line\xEF\xBF\xBD x\n"
            "flurry: note bad\n"
            "flurry: line\xEF\xBF\xBD x\n");
  expect_harmless(f.err.text(), false);
}

TEST(TtyReporter, Run) {
  Fixture f;
  {
    TtyReporter reporter(
        {f.out, f.err, false, false}, f.clock,
        [] {
          return TerminalSize{10, 80};
        },
        0, true);
    play(f, reporter);
  }
  EXPECT_EQ(f.out.text(), kSummary);
  const std::string& err = f.err.text();
  expect_harmless(err, true);
  EXPECT_NE(err.find("\x1b[?25l"), std::string::npos);
  EXPECT_GT(err.rfind("\x1b[?25h"), err.rfind("\x1b[?25l"));
  EXPECT_NE(err.find("\r\x1b[4Adb      unchanged           0.5s   \x1b[K\n"
                     "mail    build       1.0s   of 1.5s   \x1b[K\n"
                     "web-01  copy        1.0s   of 1.5s     0 B of 4.0 MiB (0 %)\x1b[K\n"),
            std::string::npos)
      << err;
  EXPECT_NE(err.find("1.0 MiB of 4.0 MiB (25 %), 200.0 KiB/s,"), std::string::npos) << err;
}

TEST(TtyReporter, ManyHostsStayWithinTheScreen) {
  LiveArea area;
  std::vector<std::string> hosts;
  for (int i = 0; i < 100; ++i) hosts.push_back("host-" + std::to_string(i));
  area.start(hosts, TimePoint{});
  for (int i = 0; i < 90; ++i)
    area.end(hosts[static_cast<size_t>(i)], {Outcome::kSucceeded, Stage::kEnded}, Millis(1));
  const auto lines = area.lines(TimePoint{Millis(1)}, {8, 40}, Palette(false));
  ASSERT_EQ(lines.size(), 7U);
  EXPECT_EQ(lines[0].substr(0, 7), "host-90");
  EXPECT_EQ(lines.back(), "100 hosts: 10 active, 0 waiting, 90 en…");
}

TEST(TtyReporter, DrawsAtMostTenTimesASecondAndRestoresTheCursor) {
  Fixture f;
  {
    TtyReporter reporter(
        {f.out, f.err}, f.clock, [] { return TerminalSize{}; }, 0, true);
    reporter.started({"01J", ".", "", Goal::kSwitch, "a", {"web"}, true});
    const size_t before = f.err.text().size();
    f.advance(reporter, 50);
    EXPECT_EQ(f.err.text().size(), before);
    f.advance(reporter, 50);
    EXPECT_GT(f.err.text().size(), before);
  }
  EXPECT_TRUE(f.err.text().ends_with("\x1b[?25h"));
}

// Trap 16.
TEST(Reporters, SayThatASuccessWithoutChecksRestsOnReachabilityOnly) {
  const HostResult unchecked{.outcome = Outcome::kSucceeded,
                             .stage = Stage::kEnded,
                             .proof = HealthProof{0, FailedUnits::kIgnore, true}};
  Fixture human;
  PlainReporter plain({human.out, human.err}, human.clock, 0);
  plain.started({"01J", "./fleet", "", Goal::kSwitch, "alice@laptop", {"web"}, true});
  plain.finished({unchecked}, 0, Millis(1000));
  EXPECT_NE(human.out.text().find("reachability only"), std::string::npos) << human.out.text();

  Fixture machine;
  JsonReporter json(machine.out, machine.clock);
  json.ended("web", unchecked, Millis(1000));
  EXPECT_NE(machine.out.text().find("\"health\":\"reachability only\""), std::string::npos);
}

TEST(JsonReporter, EveryLineIsAnEvent) {
  Fixture f;
  JsonReporter reporter(f.out, f.clock);
  play(f, reporter);
  reporter.failed(kHostile, 2);
  expect_harmless(f.out.text(), false);
  std::istringstream lines(f.out.text());
  std::vector<v1::Event> events;
  for (std::string line; std::getline(lines, line);) {
    v1::Event event;
    ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(line, &event).ok()) << line;
    EXPECT_EQ(event.deployment(), "01J");
    events.push_back(event);
  }
  ASSERT_EQ(events.size(), 22U);
  EXPECT_EQ(events[0].deployment_started().hosts_size(), 4);
  EXPECT_NE(events[1].host_log().line().find("magic rollback is OFF"), std::string::npos);
  const auto& ended = events[events.size() - 2].deployment_ended();
  EXPECT_EQ(ended.exit_code(), 4);
  EXPECT_EQ(ended.outcomes().at("rolled-back"), 1U);
  EXPECT_NE(f.out.text().find("\"host_ended\":{\"host\":\"db\",\"outcome\":\"unchanged\",\"stage\":\"\""),
            std::string::npos);
}

TEST(JsonReporter, CopyProgressTwiceASecond) {
  Fixture f;
  JsonReporter reporter(f.out, f.clock);
  for (int i = 0; i < 100; ++i, f.now += Millis(10)) reporter.copying("web", {1000, 5, 3, 1});
  EXPECT_EQ(std::ranges::count(f.out.text(), '\n'), 2);
}

TEST(JsonReporter, TellsWhatACopyCameTo) {
  Fixture f;
  JsonReporter reporter(f.out, f.clock);
  reporter.copying("web", {1000, 1000, 2, 2, 300});
  reporter.copied("web", {5, 9000, 2, 1000, 1, 700, 1, 50, 300, Millis(1500)});
  v1::Event progress, end;
  const std::string& text = f.out.text();
  const size_t line = text.find('\n') + 1;
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(text.substr(0, line), &progress).ok());
  ASSERT_TRUE(google::protobuf::util::JsonStringToMessage(text.substr(line), &end).ok());
  EXPECT_EQ(progress.copy_progress().wire_bytes(), 300u);
  const auto& account = end.host_copied();
  EXPECT_EQ(account.host(), "web");
  EXPECT_EQ(account.closure_paths(), 5u);
  EXPECT_EQ(account.closure_bytes(), 9000u);
  EXPECT_EQ(account.copied_paths(), 2u);
  EXPECT_EQ(account.copied_bytes(), 1000u);
  EXPECT_EQ(account.delta_paths(), 1u);
  EXPECT_EQ(account.delta_bytes(), 700u);
  EXPECT_EQ(account.substituted_paths(), 1u);
  EXPECT_EQ(account.substituted_bytes(), 50u);
  EXPECT_EQ(account.wire_bytes(), 300u);
  EXPECT_EQ(account.elapsed_ms(), 1500u);
}

TEST(Status, SaysDriftAndWhatIsWrong) {
  const std::string hash(32, 'a');
  const auto path = *StorePath::parse("/nix/store/" + hash + "-nixos-system-web-24.11");
  StatusReport report{.host = "web"};
  report.state.running = report.state.profile = path;
  report.state.generation = 42;
  report.booted = report.desired = path.str();
  report.system_running = "running";
  report.agent_version = "0.1.0";
  EXPECT_EQ(status_text(report, 0, Palette(false)),
            "web: in sync, running\n"
            "  running     nixos-system-web-24.11 (aaaaaaa), generation 42\n"
            "  last        no deployment by flurry yet\n"
            "  agent       0.1.0\n");
  report.desired = "/nix/store/" + std::string(32, 'b') + "-nixos-system-web-25.05";
  report.reboot_needed = true;
  report.state.failed_units = {"nginx.service"};
  report.last = PastDeployment{.outcome = "rolled-back", .reason = kHostile};
  report.notes = {std::string("a journal is damaged ") + kHostile};
  const std::string text = status_text(report, 0, Palette(false));
  EXPECT_EQ(text.find("web: drifted, running, reboot needed\n"), 0U);
  EXPECT_NE(text.find("  failed      nginx.service\n"), std::string::npos);
  EXPECT_NE(text.find("  note        a journal is damaged"), std::string::npos);
  expect_harmless(text, false);
  EXPECT_EQ(status_text({.host = "x", .error = "no route"}, 0, Palette(false)),
            "x: not reachable\n  error       no route\n");
}

TEST(PlainReporter, TellsWhatADryRunWouldDo) {
  Fixture f;
  PlainReporter reporter({f.out, f.err}, f.clock, 0);
  reporter.started({"01J", ".", "", Goal::kDryActivate, "alice@laptop", {"web", "db"}});
  reporter.ended("web",
                 {Outcome::kStaged, Stage::kEnded, "",
                  "would restart the following units: nginx.service\nwould stop \x1b[2J", "", ""},
                 Millis(500));
  reporter.ended("db", {Outcome::kStaged, Stage::kEnded, "", "", "", ""}, Millis(500));
  EXPECT_NE(f.err.text().find("web |     would restart the following units: nginx.service\n"),
            std::string::npos)
      << f.err.text();
  EXPECT_NE(f.err.text().find("db |     the dry run names nothing that would be touched\n"),
            std::string::npos);
  EXPECT_EQ(f.err.text().find('\x1b'), std::string::npos);
}

TEST(Drift, ASystemThatTheBootLoaderIsKnownNotToStartIsNotInSync) {
  const auto path = [](const char* name) {
    return *StorePath::parse("/nix/store/00000000000000000000000000000000-" + std::string(name));
  };
  StatusReport report{.host = "web", .desired = path("new").str()};
  report.state.running = report.state.profile = path("new");
  EXPECT_EQ(drift_of(report), "in-sync") << "nobody can tell what it would start";
  report.state.boot_default = path("new");
  EXPECT_EQ(drift_of(report), "in-sync");
  report.state.boot_default = path("old");
  EXPECT_EQ(drift_of(report), "drifted");
}

TEST(Drift, AProfileThatIsSetAndWasNeverActivatedIsNotInSync) {
  StatusReport report{.host = "web"};
  report.state.user_profiles["home"] = {*StorePath::parse("/nix/store/00000000000000000000000000000000-home"),
                                        4};
  report.desired_profiles["home"] = "/nix/store/00000000000000000000000000000000-home";
  EXPECT_EQ(drift_of(report), "in-sync");
  report.state.user_profiles["home"].is_activated = false;
  EXPECT_EQ(drift_of(report), "drifted");
  EXPECT_NE(status_text(report, 0, Palette(false)).find("its activation has not ended well"),
            std::string::npos);
}

}  // namespace
}  // namespace flurry
