// fleet.schema.json says what the reader reads: they are compared here, attribute by attribute.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "core/sys/clock.h"
#include "core/sys/subprocess.h"
#include "eval/fleet_json.h"
#include "tests/unit/eval/nix_sandbox.h"

namespace flurry::eval {
namespace {

using Json = nlohmann::json;
using Names = std::set<std::string>;

const Json& schema() {
  static const Json root = Json::parse(std::ifstream(FLURRY_EVAL_FOLDER "/fleet.schema.json"));
  return root;
}

Names names_of(const Json& rule) {
  Names out;
  for (const auto& [name, value] : rule.at("properties").items()) out.insert(name);
  return out;
}

std::string said(const std::string& json) {
  const auto fleet = parse_fleet_json(json);
  return fleet ? "accepted" : fleet.error().message;
}

// What the reader knows at a place, by what it says to an attribute that is like no other.
Names known_at(const std::string& before, const std::string& after) {
  const std::string message = said(before + R"("zzzzzzzzzzzz":1)" + after);
  const std::string mark = "(known here: ";
  const size_t at = message.find(mark);
  EXPECT_NE(at, std::string::npos) << message;
  if (at == std::string::npos) return {};
  std::istringstream words(message.substr(at + mark.size()));
  Names out;
  for (std::string word; words >> word;)
    out.insert(word.ends_with(')') ? word.substr(0, word.size() - 1) : word);
  return out;
}

const Json& host() { return schema()["definitions"]["host"]; }
const Json& health() { return host()["properties"]["health"]; }
const Json& check() { return health()["properties"]["checks"]["additionalProperties"]; }

TEST(FleetSchema, NamesWhatTheReaderReads) {
  const std::string site = R"({"hosts":{"a":{"health":{"checks":{"s":{)";
  EXPECT_EQ(names_of(schema()), known_at("{", "}"));
  EXPECT_EQ(names_of(host()), known_at(R"({"hosts":{"a":{)", "}}}"));
  EXPECT_EQ(names_of(host()["properties"]["profiles"]["additionalProperties"]),
            known_at(R"({"hosts":{"a":{"profiles":{"p":{)", "}}}}}"));
  EXPECT_EQ(names_of(health()), known_at(R"({"hosts":{"a":{"health":{)", "}}}}"));
  EXPECT_EQ(names_of(check()), known_at(site, "}}}}}}"));
  EXPECT_EQ(names_of(check()["properties"]["http"]), known_at(site + R"("http":{)", "}}}}}}}"));
  EXPECT_EQ(names_of(check()["properties"]["grpc"]), known_at(site + R"("grpc":{)", "}}}}}}}"));
  EXPECT_EQ(names_of(schema()["properties"]["rollout"]), known_at(R"({"hosts":{"a":{}},"rollout":{)", "}}"));
}

// A value of each type, for each attribute: the reader takes what the schema allows, and nothing else.
TEST(FleetSchema, HasTheTypesThatTheReaderTakes) {
  const std::pair<const char*, Json> samples[] = {{"boolean", true},
                                                  {"integer", 30},
                                                  {"string", "30s"},
                                                  {"array", Json::array()},
                                                  {"object", Json::object()}};
  for (const auto& [name, rule] : host()["properties"].items()) {
    const Json given = rule["type"].is_array() ? rule["type"] : Json::array({rule["type"]});
    for (const auto& [type, sample] : samples) {
      const bool is_allowed = std::any_of(given.begin(), given.end(), [&](const Json& one) {
        return one == type || (one == "number" && type == std::string("integer"));
      });
      const Json root = {{"hosts", {{"a", {{name, sample}}}}}};
      const bool is_type_error = said(root.dump()).find(": must be a") != std::string::npos;
      EXPECT_EQ(is_type_error, !is_allowed) << name << " as " << type << ": " << said(root.dump());
    }
  }
}

TEST(FleetSchema, HasTheDefaultsOfTheReader) {
  const auto bare =
      parse_fleet_json(R"({"hosts":{"a":{"health":{"checks":{"s":{"http":{"url":"http://x"}}}}}}})");
  Json given = {{"health", {{"checks", {{"s", {{"http", {{"url", "http://x"}}}}}}}}}};
  const auto fill = [](const Json& rule, Json& into) {
    for (const auto& [name, property] : rule.at("properties").items())
      if (property.contains("default") && !into.contains(name)) into[name] = property["default"];
  };
  Json& site = given["health"]["checks"]["s"];
  fill(host(), given);
  given.erase("profiles");  // `system` is always there
  fill(health(), given["health"]);
  fill(check(), site);
  fill(check()["properties"]["http"], site["http"]);
  Json rollout = Json::object();
  fill(schema()["properties"]["rollout"], rollout);
  rollout.erase("canary");  // "" is no selector
  const auto filled = parse_fleet_json(Json{{"hosts", {{"a", given}}}, {"rollout", rollout}}.dump());
  ASSERT_TRUE(bare) << bare.error().message;
  ASSERT_TRUE(filled) << filled.error().message;
  const HostConfig& a = bare->hosts[0];
  const HostConfig& b = filled->hosts[0];
  EXPECT_EQ(a.health, b.health);
  EXPECT_EQ(bare->rollout, filled->rollout);
  EXPECT_EQ(a.privilege_escalation_command, b.privilege_escalation_command);
  EXPECT_TRUE(a.build_on == b.build_on && a.substitute_on_target == b.substitute_on_target);
  EXPECT_TRUE(a.confirm_timeout == b.confirm_timeout && a.activation_timeout == b.activation_timeout);
  EXPECT_TRUE(a.magic_rollback == b.magic_rollback && a.auto_rollback == b.auto_rollback &&
              a.allow_offline == b.allow_offline);
}

// flake.nix's lib, by real Nix.
TEST(FleetLibrary, ThrowsWhatTheReaderWouldRefuseAndForcesNoPath) {
  std::string why_not;
  NixSandbox* nix = NixSandbox::get(why_not);
  if (nix == nullptr) GTEST_SKIP() << why_not;
  const auto evaluated = [&](const std::string& fleet) {
    const auto result =
        sys::run({.argv = {"nix-instantiate", "--eval", "--strict", "-E",
                           "builtins.attrNames ((import " FLURRY_EVAL_FOLDER "/fleet.nix).mkFleet { " +
                               fleet + " }).hosts"},
                  .environment = nix->options().environment},
                 sys::now() + Millis(30'000));
    EXPECT_TRUE(result) << result.error().message;
    return result ? result->standard_output + result->standard_error : "";
  };
  EXPECT_EQ(
      evaluated(
          "hosts.web = { targetPort = 22; confirmTimeout = \"1m\"; profiles.x.path = throw \"forced\"; };"),
      "[ \"web\" ]\n");
  for (const auto& [fleet, message] : std::initializer_list<std::pair<const char*, const char*>>{
           {"hosts.web.tasg = [ ];", "flurry.hosts.web.tasg: unknown field (known here: "},
           {"hosts.web.targetPort = \"22\";", "flurry.hosts.web.targetPort: must be an integer, is a string"},
           {"hosts.web.targetPort = 70000;", "flurry.hosts.web.targetPort: must be 1 to 65535, is 70000"},
           {"hosts.web.buildOn = \"tagret\";", "flurry.hosts.web.buildOn: 'tagret' is none of local, target"},
           {"hosts.web.health.checks.a.http = { };", "flurry.hosts.web.health.checks.a.http.url: is missing"},
           {"hosts.web.tags = [ 1 ];", "flurry.hosts.web.tags[0]: must be a string, is an integer"},
           {"host = { };", "flurry.host: unknown field (known here: defaults hosts rollout)"}})
    EXPECT_NE(evaluated(fleet).find(message), std::string::npos) << fleet << evaluated(fleet);
}

}  // namespace
}  // namespace flurry::eval
