#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "core/sys/clock.h"
#include "eval/fleet_json.h"
#include "eval/nix_command.h"
#include "tests/unit/eval/nix_sandbox.h"

// eval/flurry.schema.json against what the reader accepts, and lib/ (Nix), which reads the schema, against
// both.

namespace flurry::eval {
namespace {

using Json = nlohmann::json;

const Json& schema() {
  static const Json parsed = Json::parse(std::ifstream(FLURRY_SOURCE_DIR "/eval/flurry.schema.json"));
  return parsed;
}

Json resolved(Json part) {
  if (!part.contains("$ref")) return part;
  const auto name = part["$ref"].get<std::string>().substr(std::string("#/$defs/").size());
  Json whole = resolved(schema().at("$defs").at(name));
  part.erase("$ref");
  whole.update(part);
  return whole;
}

// One attribute set of the output: its part of the schema, where it stands, and what must stand beside
// `field` for the rest to be legal.
struct Level {
  const char* name;
  Json properties;
  Json (*around)(Json inner);
  Json (*beside)(const std::string& field);
};

Json in_host(Json host) { return {{"hosts", {{"a", std::move(host)}}}}; }
Json in_check(Json check) { return in_host({{"health", {{"checks", {{"c", std::move(check)}}}}}}); }
Json none(const std::string&) { return Json::object(); }

std::vector<Level> levels() {
  const auto of = [](const char* name) {
    return resolved({{"$ref", std::string("#/$defs/") + name}}).at("properties");
  };
  return {
      {"host", of("host"), in_host, none},
      {"defaults", of("host"),
       [](Json d) {
         return Json{{"hosts", {{"a", Json::object()}}}, {"defaults", d}};
       },
       none},
      {"profile", of("profile"),
       [](Json p) {
         return in_host({{"profiles", {{"p", p}}}});
       },
       [](const std::string&) {
         return Json{{"path", true}};
       }},
      {"health", of("health"),
       [](Json h) {
         return in_host({{"health", h}});
       },
       [](const std::string& field) {
         return field == "deadline" ? Json{{"minHealthy", 0}} : Json{{"deadline", "24h"}};
       }},
      {"check", of("check"), in_check,
       [](const std::string& field) {
         const bool is_kind = std::set<std::string>{"http", "tcp", "command", "unit", "grpc"}.contains(field);
         return is_kind ? Json::object() : Json{{"unit", "a"}};
       }},
      {"http", of("http"),
       [](Json h) {
         return in_check({{"http", h}});
       },
       [](const std::string&) {
         return Json{{"url", "http://x/"}};
       }},
      {"grpc", of("grpc"),
       [](Json g) {
         return in_check({{"grpc", g}});
       },
       [](const std::string&) {
         return Json{{"address", "a:1"}};
       }},
      {"rollout", of("rollout"),
       [](Json r) {
         return Json{{"hosts", {{"a", Json::object()}}}, {"rollout", r}};
       },
       none},
      {"the output", schema().at("properties"), [](Json whole) { return whole; }, none},
  };
}

Json with(const Level& level, const std::string& field, const Json& value) {
  Json inner = level.beside(field);
  inner[field] = value;
  return level.around(std::move(inner));
}

// The fleet's own error, else that of its first host that has one.
std::optional<Error> first_error(const Result<Fleet>& fleet) {
  if (!fleet) return fleet.error();
  for (const auto& host : fleet->hosts)
    if (host.error) return host.error;
  return std::nullopt;
}

// What this version can't do yet is read all the same.
bool is_read(const Json& output) {
  const auto error = first_error(parse_fleet_json(output.dump()));
  return !error || error->kind == ErrorKind::kUnsupported;
}

int64_t millis(const std::string& duration) {
  const size_t digits = duration.find_first_not_of("0123456789");
  const std::map<std::string, int64_t> units{{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}};
  return std::stoll(duration.substr(0, digits)) * units.at(duration.substr(digits));
}

std::vector<Json> legal_values(const Json& field) {
  std::vector<Json> values;
  for (const auto* list : {"examples", "enum"})
    if (field.contains(list)) values.insert(values.end(), field[list].begin(), field[list].end());
  for (const auto* one : {"default", "minimum", "maximum", "x-minimum", "x-maximum"})
    if (field.contains(one)) values.push_back(field[one]);
  if (field.value("type", "") == "boolean") values.insert(values.end(), {true, false});
  return values;
}

std::vector<Json> illegal_values(const Json& field) {
  const auto type = field.value("type", "");
  std::vector<Json> values{1.5};
  if (field.contains("enum")) values.insert(values.end(), {"qqq", 1, Json::array()});
  if (type == "boolean") values.insert(values.end(), {"true", 1});
  if (type == "integer")
    values.insert(values.end(),
                  {"1", field["minimum"].get<int64_t>() - 1, field["maximum"].get<int64_t>() + 1});
  if (type == "string") values.insert(values.end(), {1, Json::array({"a"}), Json::object()});
  if (type == "array") {
    values.insert(values.end(), {"text", Json::array({1.5}), Json::object()});
    Json many = Json::array();
    for (size_t i = 0; i <= field["maxItems"].get<size_t>(); ++i) many.push_back("a");
    values.push_back(std::move(many));
  }
  if (type == "object") values.insert(values.end(), {"text", Json::array()});
  if (field.contains("x-minimum")) {
    const int64_t min = millis(field["x-minimum"]), max = millis(field["x-maximum"]);
    values.insert(values.end(), {"10 parsecs", true, std::to_string(max + 1) + "ms"});
    if (min > 0) values.push_back(std::to_string(min - 1) + "ms");
  }
  return values;
}

struct Case {
  Json output;
  bool is_legal;
};

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  for (const auto& level : levels()) {
    for (const auto& [name, part] : level.properties.items()) {
      const Json field = resolved(part);
      if (level.name == std::string("the output") ||
          (!field.contains("type") && !field.contains("anyOf") && !field.contains("enum")))
        continue;
      for (const auto& value : legal_values(field)) cases.push_back({with(level, name, value), true});
      // null is as if it weren't there.
      Json without = level.beside(name);
      without.erase(name);
      if (is_read(level.around(without))) cases.push_back({with(level, name, nullptr), true});
      for (const auto& value : illegal_values(field)) cases.push_back({with(level, name, value), false});
    }
    cases.push_back({with(level, "qqqqqqqqq", 1), false});
  }
  return cases;
}

TEST(Schema, NamesExactlyTheFieldsThatTheReaderKnows) {
  for (const auto& level : levels()) {
    Json inner = Json::object();
    inner["qqqqqqqqq"] = 1;
    const auto error = first_error(parse_fleet_json(level.around(inner).dump()));
    ASSERT_TRUE(error) << level.name;
    const std::string& message = error->message;
    const std::string begin = "(known here: ";
    ASSERT_NE(message.find(begin), std::string::npos) << level.name << ": " << message;
    std::istringstream words(message.substr(message.find(begin) + begin.size()));
    std::set<std::string> known, named;
    for (std::string word; words >> word;) known.insert(word.substr(0, word.find(')')));
    for (const auto& [name, part] : level.properties.items()) named.insert(name);
    EXPECT_EQ(named, known) << level.name;
  }
}

TEST(Schema, SaysOfEveryFieldWhatTheReaderAccepts) {
  const auto cases = all_cases();
  EXPECT_GT(cases.size(), 300u);
  for (const auto& one : cases) {
    const auto error = first_error(parse_fleet_json(one.output.dump()));
    EXPECT_EQ(is_read(one.output), one.is_legal) << one.output << (error ? "\n  " + error->message : "");
  }
}

TEST(Schema, TellsTheDefaultsThatTheReaderTakes) {
  for (const auto& level : levels()) {
    for (const auto& [name, part] : level.properties.items()) {
      const Json field = resolved(part);
      if (!field.contains("default")) continue;
      const auto given = parse_fleet_json(with(level, name, field["default"]).dump());
      const auto silent = parse_fleet_json(level.around(level.beside(name)).dump());
      if (!given || !silent) {
        EXPECT_EQ(given ? "" : given.error().message, silent ? "" : silent.error().message)
            << level.name << "." << name;
        continue;
      }
      EXPECT_EQ(given->hosts, silent->hosts) << level.name << "." << name;
      EXPECT_EQ(given->rollout, silent->rollout) << level.name << "." << name;
    }
  }
}

class NixLibrary : public testing::Test {
 protected:
  void SetUp() override {
    std::string why_not;
    nix_ = NixSandbox::get(why_not);
    if (nix_ == nullptr) GTEST_SKIP() << why_not;
  }

  // The value of `expression`, in which `flurry` is the library as flake.nix gives it.
  Result<Json> evaluate(const std::string& expression) {
    auto options = nix_->options();
    options.impure = true;
    const std::string source = FLURRY_SOURCE_DIR;
    ASSIGN_OR_RETURN(const auto text,
                     run_nix(options,
                             {"eval", "--json", "--expr",
                              "let flurry = ((import " + source +
                                  "/flake.nix).outputs { self = throw \"self\"; nixpkgs = throw "
                                  "\"nixpkgs\"; }).lib; in " +
                                  expression},
                             sys::now() + Millis(60'000), {}));
    return Json::parse(text);
  }

  std::string refusal(const std::string& output) {
    const auto answer = evaluate("builtins.attrNames (flurry.check " + output + ")");
    return answer ? "accepted" : answer.error().message;
  }

  NixSandbox* nix_ = nullptr;
};

TEST_F(NixLibrary, AcceptsWhatTheReaderAcceptsAndNothingElse) {
  const auto cases = all_cases();
  const std::string file = nix_->raw_flake("{ }") + "/cases.json";
  Json outputs = Json::array();
  for (const auto& one : cases) outputs.push_back(one.output);
  std::ofstream(file) << outputs;
  const auto answers =
      evaluate("map (c: (builtins.tryEval (flurry.check c)).success) (builtins.fromJSON (builtins.readFile " +
               file + "))");
  ASSERT_TRUE(answers) << answers.error().message;
  ASSERT_EQ(answers->size(), cases.size());
  for (size_t i = 0; i < cases.size(); ++i)
    EXPECT_EQ((*answers)[i].get<bool>(), cases[i].is_legal) << cases[i].output;
}

TEST_F(NixLibrary, NamesEveryMistakeWithItsPlace) {
  const std::string told =
      refusal("{ hosts.web = { targetHots = \"h\"; health.checks.site.http.url = 1; }; rolout = { }; }");
  for (const char* part : {"flurry.hosts.web.targetHots: unknown field (did you mean 'targetHost'?)",
                           "flurry.hosts.web.health.checks.site.http.url: must be a string, is an integer",
                           "flurry.rolout: unknown field (did you mean 'rollout'?)"})
    EXPECT_NE(told.find(part), std::string::npos) << told;
  EXPECT_NE(refusal("{ }").find("flurry.hosts: is missing"), std::string::npos);
}

TEST_F(NixLibrary, ForcesNoSystem) {
  EXPECT_EQ(refusal("{ hosts.web.profiles.system.path = throw \"forced\"; }"), "accepted");
}

// nixpkgs is not at hand: its library's outside stands here.
TEST_F(NixLibrary, GivesTheFieldsAsOptionsAndLeavesOutWhatNobodySet) {
  const std::string lib = R"((let named = name: { inherit name; }; in {
    mkOption = option: option;
    types = { bool = named "bool"; str = named "str"; raw = named "raw"; ints.between = a: b: named "int ${toString a}-${toString b}";
      enum = words: named "enum"; strMatching = _: named "string"; oneOf = _: named "oneOf"; nullOr = t: t;
      listOf = t: named "list of ${t.name}"; attrsOf = t: named "attrs" // { inherit (t) options; };
      submodule = { options }: { name = "submodule"; inherit options; }; };
    evalModules = { modules }: { config = { defaults = null; rollout = null; hosts.web = { targetPort = 22; targetUser = null;
      health = { checks = null; deadline = "1m"; }; profiles.system = { user = null; path = { type = "derivation"; x = null; }; }; }; }; };
  }))";
  const auto options = evaluate("let o = (flurry.options " + lib +
                                ").hosts.type.options; in builtins.mapAttrs (_: v: v.type.name) o");
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->at("targetPort"), "int 1-65535");
  EXPECT_EQ(options->at("magicRollback"), "bool");
  EXPECT_EQ(options->at("health"), "submodule");
  EXPECT_EQ(options->size(), schema().at("$defs").at("host").at("properties").size());
  const auto fleet = evaluate("flurry.fromModules " + lib + " [ ]");
  ASSERT_TRUE(fleet) << fleet.error().message;
  EXPECT_EQ(
      fleet->dump(),
      R"({"hosts":{"web":{"health":{"deadline":"1m"},"profiles":{"system":{"path":{"type":"derivation","x":null}}},"targetPort":22}}})");
}

}  // namespace
}  // namespace flurry::eval
