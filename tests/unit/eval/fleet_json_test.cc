#include "eval/fleet_json.h"

#include <gtest/gtest.h>

namespace flurry::eval {
namespace {

// The fleet's own error, else that of its first host that has one.
std::optional<Error> first_error(const Result<Fleet>& fleet) {
  if (!fleet) return fleet.error();
  for (const auto& host : fleet->hosts)
    if (host.error) return host.error;
  return std::nullopt;
}

std::string message(const std::string& json) {
  const auto error = first_error(parse_fleet_json(json));
  return error ? error->message : "accepted";
}

std::string host(const std::string& fields) { return R"({"hosts":{"web-01":{)" + fields + "}}}"; }
std::string check(const std::string& fields) {
  return host(R"("health":{"checks":{"site":{)" + fields + "}}}");
}
std::string rollout(const std::string& fields) { return R"({"hosts":{"a":{}},"rollout":{)" + fields + "}}"; }

TEST(FleetJson, Defaults) {
  const auto fleet = parse_fleet_json(R"({"hosts":{"web-01":{}}})");
  ASSERT_TRUE(fleet) << fleet.error().message;
  const HostConfig& h = fleet->hosts.at(0);
  EXPECT_EQ(h.target_hosts, std::vector<std::string>{"web-01"});
  EXPECT_FALSE(h.target_port || h.target_user || h.identity_file);
  EXPECT_EQ(h.privilege_escalation_command, (std::vector<std::string>{"sudo", "-n", "--"}));
  EXPECT_EQ(h.confirm_timeout, Millis(30'000));
  EXPECT_EQ(h.activation_timeout, Millis(240'000));
  EXPECT_TRUE(h.magic_rollback && h.auto_rollback && !h.allow_offline);
  EXPECT_EQ(h.health, HealthPolicy{});
  EXPECT_EQ(fleet->rollout, RolloutConfig{});
}

TEST(FleetJson, HostsStandOverDefaultsFieldByField) {
  const auto fleet = parse_fleet_json(R"({
    "defaults": {"targetUser": "deploy", "tags": ["x"], "confirmTimeout": 60,
      "health": {"deadline": "5m", "checks": {"site": {"http": {"url": "http://a", "status": 200}, "interval": "1s"},
                                              "kept": {"unit": "nginx"}}}},
    "hosts": {
      "b": {"targetHost": ["h1", "h2"], "targetPort": 22, "tags": ["z", "y", "z"], "requires": ["a"],
            "health": {"minHealthy": "500ms", "checks": {"site": {"http": {"url": "http://b"}, "severity": "wanted"},
                                                         "kept": {"tcp": "[::1]:443"}}}},
      "a": {"targetUser": "root", "profiles": {"system": {"path": true}}}}})");
  ASSERT_TRUE(fleet) << fleet.error().message;
  const HostConfig& a = fleet->hosts.at(0);
  const HostConfig& b = fleet->hosts.at(1);
  EXPECT_EQ(a.target_user, "root");
  EXPECT_TRUE(a.profiles.at("system").has_path);
  EXPECT_EQ(b.target_user, "deploy");
  EXPECT_EQ(b.target_hosts.size(), 2u);
  EXPECT_EQ(b.tags, (std::vector<std::string>{"y", "z"}));
  EXPECT_EQ(b.confirm_timeout, Millis(60'000));
  EXPECT_EQ(b.requires_hosts.at(0).str(), "a");
  EXPECT_EQ(b.health.deadline, Millis(300'000));
  EXPECT_EQ(b.health.min_healthy, Millis(500));
  EXPECT_EQ(a.health.healthy_for(), Millis(10'000)) << "it has checks";
  ASSERT_EQ(b.health.checks.size(), 2u);
  EXPECT_EQ(std::get<TcpCheck>(b.health.checks[0].kind), (TcpCheck{"::1", 443}));
  EXPECT_EQ(std::get<UnitCheck>(a.health.checks[0].kind).unit, "nginx.service");
  const auto& site = b.health.checks[1];
  EXPECT_EQ(std::get<HttpCheck>(site.kind).url, "http://b");
  EXPECT_EQ(std::get<HttpCheck>(site.kind).status, std::vector<uint16_t>{200});
  EXPECT_EQ(site.interval, Millis(1000));
  EXPECT_EQ(site.severity, Severity::kWanted);
}

TEST(FleetJson, Accepts) {
  const std::string cases[] = {
      rollout(R"("batches":["100%"],"maxFailures":0,"onFailure":"stop","bake":0)"),
      host(R"("buildOn":"local","substituteOnTarget":true,"profilesOrder":["system"])"),
      host(R"("sshOptions":[],"privilegeEscalationCommand":[])"),
      check(R"("command":"true\nfalse")"),
      check(R"("command":["/bin/test","-e","/x"],"timeout":"1h")"),
      check(
          R"("http":{"url":"https://x/","method":"POST","headers":{"A-B":"c"},"status":[200,204],"body":"ok\n","insecureTls":true})"),
      check(
          R"("tcp":"localhost:1","from":"host","initialDelay":0,"successThreshold":2,"failureThreshold":1)"),
      check(R"("unit":"a@b.timer")"),
      // What modules write where nobody has set anything.
      R"({"defaults":null,"rollout":null,"hosts":{"a":{}}})",
      host(
          R"("targetHost":null,"tags":null,"profiles":null,"health":{"checks":null,"deadline":null},"requires":null)"),
      host(R"("profiles":{"alice":null,"bob":{"path":true,"user":null}})"),
      check(R"("unit":"a","tcp":null,"http":null,"interval":null)"),
  };
  for (const auto& json : cases) EXPECT_EQ(message(json), "accepted") << json;
}

// Trap 20.
TEST(FleetJson, SaysWhatIsWrongAndWhere) {
  const std::string w = "flurry.hosts.web-01.";
  const std::string s = w + "health.checks.site";
  const std::pair<std::string, std::string> cases[] = {
      {"[]", "flurry: must be an attribute set, is a list (write { NAME = VALUE; })"},
      {"{}", "flurry.hosts: is missing: add hosts.NAME = { }"},
      {R"({"hosts":{}})", "flurry.hosts: names no host: add hosts.NAME = { }"},
      {R"({"hosts":{"a":1}})",
       "flurry.hosts.a: must be an attribute set, is an integer (write { NAME = VALUE; })"},
      {R"({"host":{"a":{}}})", "flurry.host: unknown field (did you mean 'hosts'?)"},
      {R"({"hosts":{"-a":{}}})", "flurry.hosts.-a: host name '-a' must not start with '-' or '.'"},
      {R"({"hosts":{"a.example":{"x":1}}})",
       "flurry.hosts.\"a.example\".x: unknown field (known here: targetHost targetPort targetUser sshOptions "
       "identityFile privilegeEscalationCommand buildOn substituteOnTarget tags profiles profilesOrder "
       "health confirmTimeout activationTimeout magicRollback autoRollback allowOffline requires)"},
      {R"({"hosts":{"a":{}},"defaults":{"tasg":1}})",
       "flurry.defaults.tasg: unknown field (did you mean 'tags'?)"},
      {R"({"hosts":{"a":{}},"defaults":{"targetPort":"22"}})",
       "flurry.defaults.targetPort: must be an integer, is a string (write it without quotes)"},
      {host(R"("targetport":22)"), w + "targetport: unknown field (did you mean 'targetPort'?)"},
      {host(R"("targetPort":0)"), w + "targetPort: must be 1 to 65535, is 0"},
      {host(R"("targetPort":99999999999999999999)"), w + "targetPort: must be an integer, is a float"},
      {host(R"("targetPort":18446744073709551615)"),
       w + "targetPort: must be 1 to 65535, is 18446744073709551615"},
      {host(R"("targetPort":22.5)"), w + "targetPort: must be an integer, is a float"},
      {host(R"("targetHost":[])"),
       w + "targetHost: must not be an empty list (leave it out for the host's name)"},
      {host(R"("targetHost":"root@h")"), w + "targetHost: 'root@h': the user belongs into targetUser"},
      {host(R"("targetHost":"-oProxyCommand=x")"),
       w + "targetHost: '-oProxyCommand=x' is no host name or address"},
      {host(R"("targetHost":["a",1])"),
       w + "targetHost[1]: must be a string, is an integer (write it in quotes)"},
      {host(R"("targetHost":"")"), w + "targetHost: must not be empty"},
      {host(R"("targetUser":"a\nb")"), w + "targetUser: must not hold control characters"},
      {host(R"("sshOptions":"-v")"),
       w + "sshOptions: must be a list of strings, is a string (write [ \"-v\" ])"},
      {host(R"("magicRollback":"yes")"),
       w + "magicRollback: must be a bool, is a string (write true or false, without quotes)"},
      {host(R"("buildOn":"traget")"),
       w + "buildOn: 'traget' is none of \"local\", \"target\" (did you mean 'target'?)"},
      {host(R"("confirmTimeout":"30")"),
       w + "confirmTimeout: '30' is no duration: write \"500ms\", \"10s\", \"2m\", \"1h\" or seconds"},
      {host(R"("confirmTimeout":"-3s")"),
       w + "confirmTimeout: '-3s' is no duration: write \"500ms\", \"10s\", \"2m\", \"1h\" or seconds"},
      {host(R"("confirmTimeout":"1s")"), w + "confirmTimeout: must be 5s to 24h, is 1s"},
      {host(R"("activationTimeout":1.5)"),
       w + "activationTimeout: must be a duration (\"10s\", or an integer of seconds), is a float"},
      {host(R"("tags":["a b"])"), w + "tags: 'a b': a tag may hold no blank and none of !&,()@*?[]"},
      {host(R"("requires":["web-02"])"), w + "requires: no host is named 'web-02' (did you mean 'web-01'?): "
                                             "add it to flurry.hosts, or take it out here"},
      {host(R"("requires":["web-01"])"), w + "requires: leads round in a circle: no host could be the first"},
      {R"({"hosts":{"a":{"requires":["b"]},"b":{"requires":["c"]},"c":{"requires":["b"]}}})",
       "flurry.hosts.a.requires: leads round in a circle: no host could be the first"},
      {R"({"hosts":{"a":{},"b":{"requires":["a","c"]},"c":{"requires":["b"]},"d":{"requires":["a"]}}})",
       "flurry.hosts.b.requires: leads round in a circle: no host could be the first"},
      {host(R"("profilesOrder":["sytem"])"),
       w + "profilesOrder: no profile is named 'sytem' (did you mean 'system'?)"},
      {host(R"("profiles":{"alice":{}})"),
       w + "profiles.alice.path: is missing: write path = the profile's package"},
      {host(R"("profiles":{"system":"/nix/store/x"})"),
       w + "profiles.system: must be an attribute set: write system.path = ..."},
      {host(R"("health":{"failedUnits":"none"})"),
       w + "health.failedUnits: 'none' is none of \"new\", \"any\", \"ignore\""},
      {host(R"("health":{"minHealthy":"3m"})"),
       w + "health.minHealthy: is longer than deadline: no host could pass"},
      {check(R"("http":{"urll":"http://x"})"), s + ".http.urll: unknown field (did you mean 'url'?)"},
      {check(R"("http":"http://x")"), s + ".http: must be an attribute set: write http.url = \"http://x\""},
      {check(R"("http":{"url":null})"), s + ".http.url: is missing"},
      {host(R"("targetHots":null)"), w + "targetHots: unknown field (did you mean 'targetHost'?)"},
      {check(R"("http":{})"), s + ".http.url: is missing"},
      {check(R"("http":{"url":"localhost"})"),
       s + ".http.url: 'localhost' must start with http://HOST or https://HOST"},
      {check(R"("http":{"url":"http://x","status":99})"), s + ".http.status: must be 100 to 599, is 99"},
      {check(R"("http":{"url":"http://x","headers":{"a b":"c"}})"),
       s + ".http.headers.\"a b\": is no HTTP header name"},
      {check(R"("http":{"url":"http://x","headers":{"a":"c\r\nX: y"}})"),
       s + ".http.headers.a: must not hold control characters"},
      {check(R"("htpp":{})"), s + ".htpp: unknown field (did you mean 'http'?)"},
      {check(R"("interval":"1s")"),
       s + ": says nothing to check; needs one of http, tcp, command, unit, grpc"},
      {check(R"("interval":"1ms","unit":"a")"), s + ".interval: must be 100ms to 1h, is 1ms"},
      {check(R"("unit":"a","tcp":"a:1")"),
       s + ": has both 'tcp' and 'unit'; a check is one of http, tcp, command, unit, grpc"},
      {check(R"("unit":"a b")"), s + ".unit: 'a b' is no unit name"},
      {check(R"("tcp":"localhost")"), s + ".tcp: 'localhost' is no address: write \"host:port\""},
      {check(R"("tcp":"::1:443")"), s + ".tcp: '::1:443' is no address: write \"host:port\""},
      {check(R"("tcp":"h:70000")"), s + ".tcp: the port must be 1 to 65535, is 70000"},
      {check(R"("command":[])"), s + ".command: must not be empty"},
      {check(R"("unit":"a","successThreshold":0)"), s + ".successThreshold: must be 1 to 1000, is 0"},
      {rollout(R"("batches":["150%"])"), "flurry.rollout.batches[0]: '150%' is none of \"1%\" to \"100%\""},
      {rollout(R"("canary":"@x")"),
       "flurry.rollout: selector: no host has the tag 'x' (flurry hosts lists all)"},
      {rollout(R"("canary":"(")"),
       "flurry.rollout.canary: selector: expected a name, a glob or @tag at position 2\n  (\n   ^"},
      {"{",
       "flurry: not valid JSON: [json.exception.parse_error.101] parse error at line 1, column 2: syntax "
       "error while parsing object key - unexpected end of input; expected string literal"},
  };
  for (const auto& [json, expected] : cases) EXPECT_EQ(message(json), expected) << json;
}

TEST(FleetJson, NamesItsOwnWordForAnotherTools) {
  const std::pair<std::string, std::string> cases[] = {
      {host(R"("hostname":"x")"), "hostname: unknown field (here it is 'targetHost')"},
      {host(R"("sshUser":"x")"), "sshUser: unknown field (here it is 'targetUser')"},
      {host(R"("sshOpts":[])"), "sshOpts: unknown field (here it is 'sshOptions')"},
      {host(R"("buildOnTarget":true)"), "buildOnTarget: unknown field (here it is 'buildOn')"},
      {host(R"("checks":{})"), "checks: unknown field (here it is 'health')"},
  };
  for (const auto& [json, expected] : cases) EXPECT_EQ(message(json), "flurry.hosts.web-01." + expected);
  EXPECT_EQ(message(R"({"nodes":{}})"), "flurry.nodes: unknown field (here it is 'hosts')");
}

// Trap 19.
TEST(FleetJson, RefusesWhatIsToComeOnlyWhenItMatters) {
  const std::string no = " is not supported yet by this version";
  const std::string h = "flurry.hosts.web-01.";
  const std::pair<std::string, std::string> cases[] = {
      {check(R"("grpc":"localhost:50051")"), h + "health.checks: a grpc check" + no},
      {check(R"("tcp":"a:1","from":"controller")"), h + "health.checks: a check from the controller" + no},
      {rollout(R"("canary":"a")"), "flurry.rollout.canary:" + no},
      {rollout(R"("batches":[1,"100%"])"), "flurry.rollout.batches:" + no},
      {rollout(R"("maxFailures":1)"), "flurry.rollout.maxFailures:" + no},
      {rollout(R"("onFailure":"rollback")"), "flurry.rollout.onFailure:" + no},
      {rollout(R"("bake":"5m")"), "flurry.rollout.bake:" + no},
      {rollout(R"("skipOffline":true)"), "flurry.rollout.skipOffline:" + no},
  };
  for (const auto& [json, expected] : cases) {
    EXPECT_EQ(message(json), expected) << json;
    const auto error = first_error(parse_fleet_json(json));
    EXPECT_TRUE(error && error->kind == ErrorKind::kUnsupported) << json;
  }
}

TEST(FleetJson, Bounds) {
  std::string checks;
  for (int i = 0; i < 65; ++i) checks += (i > 0 ? ",\"c" : "\"c") + std::to_string(i) + R"(":{"unit":"a"})";
  EXPECT_EQ(message(host(R"("health":{"checks":{)" + checks + "}}")),
            "flurry.hosts.web-01.health.checks: more than 64 checks on one host");
  std::string hosts;
  for (int i = 0; i < 10001; ++i) hosts += (i > 0 ? ",\"h" : "\"h") + std::to_string(i) + R"(":{})";
  EXPECT_EQ(message(R"({"hosts":{)" + hosts + "}}"), "flurry.hosts: has more than 10000 hosts");
  EXPECT_EQ(message(host(R"("identityFile":")" + std::string(5000, 'a') + "\"")),
            "flurry.hosts.web-01.identityFile: is longer than 4096 bytes");
  EXPECT_EQ(message(std::string(100000, '[')), "flurry: nested more than 32 deep");
}

TEST(FleetJson, NamesStandOnceAndInOrder) {
  EXPECT_TRUE(parse_names_json(R"(["a","b"])"));
  for (const char* names : {R"(["a","a"])", R"(["b","a"])"}) EXPECT_FALSE(parse_names_json(names)) << names;
}

// The agent's bounds (core/wire): what it would refuse after the copy is refused here.
TEST(FleetJson, ChecksAreThoseThatAnAgentTakes) {
  const std::string longest(128, 'x');
  EXPECT_EQ(message(host(R"("health":{"checks":{")" + longest + R"(":{"unit":"a"}}})")), "accepted");
  for (const std::string& fields :
       {R"("health":{"checks":{")" + longest + R"(x":{"unit":"a"}}})",
        std::string(R"("health":{"checks":{"t":{"tcp":"-x:22"}}})"),
        R"("health":{"checks":{"t":{"tcp":")" + std::string(257, 'x') + R"(:22"}}})",
        R"("health":{"checks":{"t":{"unit":")" + std::string(250, 'x') + R"("}}})",
        R"("health":{"checks":{"t":{"http":{"url":"http://a","headers":{")" + longest + R"(x":"y"}}}}})"})
    EXPECT_TRUE(message(host(fields)).starts_with("flurry.hosts.web-01.health.checks."))
        << message(host(fields));
}

}  // namespace
}  // namespace flurry::eval
