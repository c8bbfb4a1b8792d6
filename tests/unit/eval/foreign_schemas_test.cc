#include <gtest/gtest.h>

#include <string>

#include "core/profile.h"
#include "eval/colmena_json.h"
#include "eval/deploy_rs_json.h"

// Flakes of other tools, as they are. (Whether Nix gives this JSON is nix_evaluator_test's to say.)

namespace flurry::eval {
namespace {

HostConfig one(const Result<Fleet>& fleet, size_t index = 0) {
  if (!fleet) ADD_FAILURE() << fleet.error().message;
  return fleet ? fleet->hosts.at(index) : HostConfig{.name = *HostName::parse("none")};
}

// The fleet's own error, else that of its first host that has one.
std::string refusal(const Result<Fleet>& fleet) {
  if (!fleet) return fleet.error().message;
  for (const auto& host : fleet->hosts)
    if (host.error) return host.error->message;
  return "accepted";
}

std::string with(const std::string& node, const std::string& top = "") {
  return R"({)" + top + R"("nodes":{"web":{"hostname":"203.0.113.1",)" + node + "}}}";
}
const std::string kSystem = R"("profiles":{"system":{"user":"root","path":true}})";

TEST(DeployRs, ReadsEveryFieldOfItsSchema) {
  const auto host =
      one(parse_deploy_rs_json(R"({"sshUser":"admin","sshOpts":["-p","22"],"tempPath":"/var/tmp",
    "nodes":{"web":{"hostname":"203.0.113.1","sshOpts":["-A"],"confirmTimeout":60,"fastConnection":true,
      "profilesOrder":["db"],
      "profiles":{"system":{"user":"root","path":true,"autoRollback":false,"activationTimeout":600,"sudo":"doas -u"},
                  "db":{"user":"postgres","path":true,"profilePath":"/nix/var/nix/profiles/db","sshOpts":["-v"]},
                  "home":{"path":true,"interactiveSudo":false,"remoteBuild":false,"magicRollback":false}}}}})"));
  EXPECT_EQ(host.target_hosts, std::vector<std::string>{"203.0.113.1"});
  EXPECT_EQ(host.target_user, "admin");
  EXPECT_EQ(host.ssh_options, (std::vector<std::string>{"-A", "-p", "22"})) << "profile, node, top";
  EXPECT_EQ(host.privilege_escalation_command, (std::vector<std::string>{"doas", "-u", "root"}));
  EXPECT_EQ(host.confirm_timeout, Millis(60'000));
  EXPECT_EQ(host.activation_timeout, Millis(600'000));
  EXPECT_FALSE(host.auto_rollback);
  EXPECT_TRUE(host.magic_rollback) << "the system's settings count";
  EXPECT_EQ(host.profiles.at("db").user, "postgres");
  EXPECT_EQ(host.profiles.at("db").link, "/nix/var/nix/profiles/db");
  EXPECT_EQ(host.profiles.at("home").user, "admin") << "sshUser stands in for user";
  const auto order = ordered_profiles(host);
  ASSERT_EQ(order.size(), 3u);
  EXPECT_EQ(order[0].name + order[1].name + order[2].name, "dbsystemhome");
}

TEST(DeployRs, TheDeepestLevelWins) {
  const auto host = one(parse_deploy_rs_json(with(
      R"("confirmTimeout":50,"magicRollback":true,"profiles":{"system":{"user":"root","path":true,"confirmTimeout":70}})",
      R"("confirmTimeout":40,"magicRollback":false,"activationTimeout":100,)")));
  EXPECT_EQ(host.confirm_timeout, Millis(70'000));
  EXPECT_EQ(host.activation_timeout, Millis(100'000));
  EXPECT_TRUE(host.magic_rollback);
}

TEST(DeployRs, BuildsOnTheHostWhereAnyOfItsProfilesSaysSo) {
  EXPECT_EQ(one(parse_deploy_rs_json(with(kSystem))).build_on, BuildOn::kLocal);
  EXPECT_EQ(one(parse_deploy_rs_json(with(R"("remoteBuild":true,)" + kSystem))).build_on, BuildOn::kTarget);
}

TEST(DeployRs, EverySettingMayStandAtEveryLevelAndTheDeepestWins) {
  struct Setting {
    const char* name;
    const char* low;
    const char* high;
    std::string (*read)(const HostConfig& host);
  };
  static const auto kFlag = [](bool on) { return std::string(on ? "true" : "false"); };
  const Setting settings[] = {
      {"sshUser", "\"low\"", "\"high\"", [](const HostConfig& h) { return "\"" + *h.target_user + "\""; }},
      {"sudo", "\"low\"", "\"high\"",
       [](const HostConfig& h) { return "\"" + h.privilege_escalation_command.at(0) + "\""; }},
      {"magicRollback", "false", "true", [](const HostConfig& h) { return kFlag(h.magic_rollback); }},
      {"autoRollback", "false", "true", [](const HostConfig& h) { return kFlag(h.auto_rollback); }},
      {"fastConnection", "false", "true", [](const HostConfig& h) { return kFlag(!h.substitute_on_target); }},
      {"confirmTimeout", "11", "22",
       [](const HostConfig& h) { return std::to_string(h.confirm_timeout.count() / 1000); }},
      {"activationTimeout", "11", "22",
       [](const HostConfig& h) { return std::to_string(h.activation_timeout.count() / 1000); }},
  };
  for (const auto& setting : settings) {
    const auto at = [&](const char* value) {
      return *value == 0 ? std::string() : "\"" + std::string(setting.name) + "\":" + value + ",";
    };
    const auto fleet = [&](const char* top, const char* node, const char* profile) {
      return setting.read(one(parse_deploy_rs_json("{" + at(top) + R"("nodes":{"web":{"hostname":"h",)" +
                                                   at(node) + R"("profiles":{"system":{)" + at(profile) +
                                                   R"("user":"root","path":true}}}}})")));
    };
    for (const auto& [low, high] :
         {std::pair{setting.low, setting.high}, std::pair{setting.high, setting.low}}) {
      EXPECT_EQ(fleet(high, "", ""), high) << setting.name;
      EXPECT_EQ(fleet(low, high, ""), high) << setting.name;
      EXPECT_EQ(fleet(low, "", high), high) << setting.name;
      EXPECT_EQ(fleet(high, low, high), high) << setting.name;
      EXPECT_EQ(fleet(low, low, high), high) << setting.name;
    }
  }
}

TEST(DeployRs, SshOptsOfAllLevelsAreJoinedTheDeepestFirst) {
  const auto host = one(parse_deploy_rs_json(
      R"({"sshOpts":["-t"],"nodes":{"web":{"hostname":"h","sshOpts":["-n"],"profiles":{"system":
      {"user":"root","path":true,"sshOpts":["-p","1"]}}}}})"));
  EXPECT_EQ(host.ssh_options, (std::vector<std::string>{"-p", "1", "-n", "-t"}));
}

TEST(DeployRs, ASettingOfAnotherTypeIsRefusedAtEveryLevel) {
  for (const char* name :
       {"sshUser", "user", "sudo", "interactiveSudo", "sshOpts", "fastConnection", "autoRollback",
        "magicRollback", "confirmTimeout", "activationTimeout", "tempPath", "remoteBuild"}) {
    const std::string wrong = "\"" + std::string(name) + "\":1.5,";
    const std::string node = R"("nodes":{"web":{"hostname":"h",)";
    const std::string system = R"("profiles":{"system":{)";
    const std::string end = R"("path":true}}}}})";
    EXPECT_TRUE(refusal(parse_deploy_rs_json("{" + wrong + node + system + end))
                    .starts_with("deploy." + std::string(name) + ": must be"));
    EXPECT_TRUE(refusal(parse_deploy_rs_json("{" + node + wrong + system + end))
                    .starts_with("deploy.nodes.web." + std::string(name) + ": must be"));
    EXPECT_TRUE(refusal(parse_deploy_rs_json("{" + node + system + wrong + end))
                    .starts_with("deploy.nodes.web.profiles.system." + std::string(name) + ": must be"));
  }
}

TEST(DeployRs, AFailedUnitHasAsLongAsTheConfirmationToRecover) {
  const auto short_one = one(parse_deploy_rs_json(with(R"("confirmTimeout":8,)" + kSystem)));
  EXPECT_EQ(short_one.health.deadline, Millis(20'000)) << "long enough to be healthy at all";
  EXPECT_EQ(one(parse_deploy_rs_json(with(R"("confirmTimeout":90,)" + kSystem))).health.deadline,
            Millis(90'000));
}

TEST(DeployRs, TheSystemIsRootsAndAtItsOwnPlace) {
  EXPECT_EQ(refusal(parse_deploy_rs_json(with(R"("profiles":{"system":{"user":"ann","path":true}})"))),
            "deploy.nodes.web.profiles.system.user: is 'ann': the profile 'system' is root's: set user = "
            "\"root\", or give the profile another name");
  EXPECT_EQ(
      refusal(parse_deploy_rs_json(with(R"("sshUser":"ann","profiles":{"system":{"path":true}})"))),
      "deploy.nodes.web.profiles.system.user: is 'ann' (sshUser stands in for it): the profile 'system' "
      "is root's: set user = \"root\", or give the profile another name");
  const std::string at =
      R"("profiles":{"system":{"user":"root","path":true,"profilePath":"/nix/var/nix/profiles/)";
  EXPECT_EQ(refusal(parse_deploy_rs_json(with(at + R"(system"}})"))), "accepted");
  EXPECT_EQ(refusal(parse_deploy_rs_json(with(at + R"(other"}})"))),
            "deploy.nodes.web.profiles.system.profilePath: the profile 'system' is "
            "/nix/var/nix/profiles/system: leave profilePath out, or give the profile another name");
}

TEST(DeployRs, HasItsOwnDefaults) {
  const auto host = one(parse_deploy_rs_json(with(kSystem)));
  EXPECT_EQ(host.confirm_timeout, Millis(30'000));
  EXPECT_EQ(host.activation_timeout, Millis(240'000));
  EXPECT_TRUE(host.magic_rollback && host.auto_rollback);
  EXPECT_FALSE(host.target_user);
  EXPECT_TRUE(host.substitute_on_target);
}

TEST(DeployRs, IgnoresWhatDeployRsIgnoresButNotATypingError) {
  EXPECT_EQ(refusal(parse_deploy_rs_json(with(R"("note":null,)" + kSystem))), "accepted");
  EXPECT_EQ(refusal(parse_deploy_rs_json(with(R"("magicRolback":null,)" + kSystem))),
            "deploy.nodes.web.magicRolback: unknown field (did you mean 'magicRollback'?)");
}

TEST(DeployRs, NullIsAsIfItWereNotThere) {
  std::string nulls;
  for (const char* name :
       {"sshUser", "user", "sudo", "interactiveSudo", "sshOpts", "fastConnection", "autoRollback",
        "magicRollback", "confirmTimeout", "activationTimeout", "tempPath", "remoteBuild"})
    nulls += "\"" + std::string(name) + "\":null,";
  const auto plain = one(parse_deploy_rs_json(with(kSystem)));
  const std::string system =
      R"("profilesOrder":null,"profiles":{"old":null,"system":{"profilePath":null,"user":"root",)";
  const std::string profile = nulls.substr(nulls.find("\"sudo"));
  EXPECT_EQ(one(parse_deploy_rs_json(with(nulls + system + profile + R"("path":true}})", nulls))), plain);
}

TEST(DeployRs, APasswordIsWantedOnlyWhereSudoIs) {
  const std::string interactive = R"("interactiveSudo":true,)" + kSystem;
  EXPECT_EQ(refusal(parse_deploy_rs_json(with(R"("sshUser":"root",)" + interactive))), "accepted");
  EXPECT_NE(refusal(parse_deploy_rs_json(with(R"("sshUser":"ann",)" + interactive))), "accepted");
}

TEST(DeployRs, SaysOnceWhatASecondProfileCannotHaveForItself) {
  const auto notes = [](const std::string& home) {
    return one(parse_deploy_rs_json(with(
                   R"("profiles":{"system":{"user":"root","path":true},"home":{"user":"ann","path":true)" +
                   home + "}}")))
        .notes;
  };
  EXPECT_TRUE(notes("").empty());
  EXPECT_TRUE(notes(R"(,"magicRollback":true)").empty()) << "it is the system's too";
  EXPECT_EQ(
      notes(R"(,"magicRollback":false,"sshUser":"ann","confirmTimeout":60)"),
      std::vector<std::string>{
          "deploy.nodes.web.profiles.home: sshUser, magicRollback, confirmTimeout hold for all profiles "
          "of a host here: those of the profile 'system' are taken"});
}

TEST(DeployRs, SaysWhatIsWrongAndWhere) {
  const std::pair<std::string, const char*> cases[] = {
      {R"({})", "deploy.nodes: is missing: add nodes.NAME = { hostname = ...; profiles = ...; }"},
      {R"({"nodes":{}})",
       "deploy.nodes: names no host: add nodes.NAME = { hostname = ...; profiles = ...; }"},
      {R"({"nodes":{"web":{"profiles":{}}}})",
       "deploy.nodes.web.hostname: is missing: write hostname = \"ADDRESS\"\n"
       "deploy.nodes.web.profiles: is empty: there is nothing to deploy"},
      {R"({"nodes":{"web":{"hostname":"h"}}})",
       "deploy.nodes.web.profiles: is missing: write profiles.system = { user = \"root\"; path = ...; }"},
      {with(R"("profiles":{})"), "deploy.nodes.web.profiles: is empty: there is nothing to deploy"},
      {with(R"("profiles":{"system":{"user":"root"}})"),
       "deploy.nodes.web.profiles.system.path: is missing: write path = deploy-rs.lib.SYSTEM.activate.nixos "
       "..."},
      {with(R"("profiles":{"system":{"path":true}})"),
       "deploy.nodes.web.profiles.system.user: is missing, and so is sshUser, which stands in for it: write "
       "user = \"root\""},
      {with(R"("confirmTimeout":"30s",)" + kSystem),
       "deploy.nodes.web.confirmTimeout: must be an integer, is a string (write it without quotes)"},
      {with(R"("profilesOrder":["sytem"],)" + kSystem),
       "deploy.nodes.web.profilesOrder: no profile is named 'sytem' (did you mean 'system'?)"},
      {with(R"("interactiveSudo":true,)" + kSystem),
       "deploy.nodes.web.profiles.system.interactiveSudo: a password can't be asked for yet: allow this user "
       "sudo "
       "without one"},
  };
  for (const auto& [json, message] : cases) EXPECT_EQ(refusal(parse_deploy_rs_json(json)), message) << json;
}

std::string hive(const std::string& deployment, const std::string& rest = "") {
  return R"({"schema":"v0.5","allowApplyAll":true,"machinesFile":"",)" + rest + R"("nodes":{"web":{)" +
         deployment + "}}}";
}

TEST(Colmena, ReadsTheDeploymentOfEachNode) {
  const auto fleet = parse_colmena_json(R"({"schema":"v0.5","allowApplyAll":false,"machinesFile":"","nodes":{
    "db":{"targetHost":null,"targetPort":null,"targetUser":"root","tags":[],"keys":[]},
    "web":{"targetHost":"203.0.113.2","targetPort":2222,"targetUser":"deploy","tags":["b","a"],"keys":[],
           "buildOnTarget":true,"replaceUnknownProfiles":true,"sshOptions":["-A"],
           "privilegeEscalationCommand":["doas"]}}})");
  const auto host = one(fleet, 1);
  ASSERT_EQ(fleet->hosts.size(), 2u);
  EXPECT_TRUE(fleet->hosts[0].target_hosts.empty()) << "no SSH leads there";
  EXPECT_TRUE(fleet->needs_selection);
  EXPECT_EQ(host.name.str(), "web");
  EXPECT_EQ(host.target_hosts, std::vector<std::string>{"203.0.113.2"});
  EXPECT_EQ(host.target_port, 2222);
  EXPECT_TRUE(host.substitute_on_target) << "colmena's default";
  EXPECT_EQ(host.target_user, "deploy");
  EXPECT_EQ(host.tags, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(host.ssh_options, std::vector<std::string>{"-A"});
  EXPECT_EQ(host.privilege_escalation_command, std::vector<std::string>{"doas"});
  EXPECT_EQ(host.build_on, BuildOn::kTarget);
}

TEST(Colmena, ReadsAnAddressAsSshDoes) {
  const auto host = one(parse_colmena_json(hive(R"("targetUser":null,"targetHost":"de@ploy@h2")")));
  EXPECT_EQ(host.target_user, "de@ploy");
  EXPECT_EQ(host.target_hosts, std::vector<std::string>{"h2"});
  EXPECT_EQ(refusal(parse_colmena_json(hive(R"("targetUser":"root","targetHost":"deploy@h2")"))),
            "colmenaHive.nodes.web.deployment.targetHost: 'deploy@h2' names a user, and so does targetUser, "
            "'root': set targetUser = null, or leave it out here");
}

TEST(Colmena, TakesTheHivesOwnBuildMachines) {
  const auto with_file = [](const std::string& file) {
    return parse_colmena_json(R"({"schema":"v0.5","machinesFile":")" + file +
                              R"(","nodes":{"web":{"targetHost":"h"}}})");
  };
  ASSERT_TRUE(with_file("/etc/nix/machines"));
  EXPECT_EQ(with_file("/etc/nix/machines")->builders, "@/etc/nix/machines");
  EXPECT_EQ(refusal(with_file("machines")),
            "colmenaHive.meta.machinesFile: must be an absolute path, is 'machines'");
}

// Trap 18.
TEST(Colmena, RefusesWhatItCannotDoYetByItsName) {
  EXPECT_EQ(refusal(parse_colmena_json(hive(R"("keys":["tls","db"])"))),
            "colmenaHive.nodes.web.deployment.keys: delivering secrets (tls and 1 more) is not supported yet "
            "by this "
            "version");
  EXPECT_EQ(refusal(parse_colmena_json(hive(R"("replaceUnknownProfiles":false)"))),
            "colmenaHive.nodes.web.deployment.replaceUnknownProfiles: refusing to replace a profile that "
            "this machine "
            "does not know is not supported yet by this version");
  EXPECT_EQ(refusal(parse_colmena_json(R"({"schema":"v0.4","nodes":{}})")),
            "colmenaHive.__schema: is 'v0.4', this version reads 'v0.5': update the flake's colmena input");
  EXPECT_EQ(refusal(parse_colmena_json(R"({"notAHive":true})")),
            "colmenaHive: is no hive: write colmenaHive = colmena.lib.makeHive { ... }");
}

}  // namespace
}  // namespace flurry::eval
