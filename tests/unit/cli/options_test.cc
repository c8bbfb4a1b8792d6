#include "cli/options.h"

#include <gtest/gtest.h>

namespace flurry {
namespace {

Result<Options> parse(std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "flurry");
  return parse_options(static_cast<int>(arguments.size()), arguments.data());
}

std::string error_of(std::vector<const char*> arguments) {
  const auto options = parse(std::move(arguments));
  return options ? "(no error)" : options.error().message;
}

TEST(Options, DeployWithEverything) {
  const auto options = parse({"deploy",
                              "git+file:///x?dir=a#web-01,db-1",
                              "--on=@web",
                              "-p4",
                              "--goal",
                              "boot",
                              "--override-input",
                              "nixpkgs",
                              "/n",
                              "--option",
                              "cores",
                              "2",
                              "--override-input",
                              "a",
                              "b",
                              "-vv",
                              "--confirm-timeout",
                              "2m",
                              "--yes",
                              "--no-magic-rollback",
                              "--schema",
                              "nixos",
                              "--output=json"});
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->verb, Verb::kDeploy);
  EXPECT_EQ(options->flake, "git+file:///x?dir=a");
  EXPECT_EQ(options->fragment_hosts, (std::vector<std::string>{"web-01", "db-1"}));
  EXPECT_EQ(options->on, "@web");
  EXPECT_EQ(options->parallel, 4U);
  EXPECT_EQ(options->goal, Goal::kBoot);
  ASSERT_EQ(options->override_inputs.size(), 2U);
  EXPECT_EQ(options->override_inputs[1].second, "b");
  ASSERT_EQ(options->nix_options.size(), 1U);
  EXPECT_EQ(options->nix_options[0].second, "2");
  EXPECT_EQ(options->verbosity, 2);
  EXPECT_EQ(options->confirm_timeout, Millis(120'000));
  EXPECT_FALSE(options->magic_rollback);
  EXPECT_EQ(options->schema, FleetSchema::kNixosConfigurations);
  EXPECT_EQ(options->output, OutputFormat::kJson);
}

TEST(Options, EveryOnAddsToWhatIsSelected) {
  const auto options = parse({"deploy", "--on", "a&b", "--on", "c"});
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->on, "a&b,c");
}

TEST(Options, NamesAfterTheHashMayBeQuotedAsInNix) {
  const std::pair<const char*, std::vector<std::string>> cases[] = {
      {".#\"web.example.org\"", {"web.example.org"}},
      {".#\"web.example.org\".system", {"web.example.org.system"}},
      {".#\"a.b\",c,\"d\"", {"a.b", "c", "d"}}};
  for (const auto& [flake, names] : cases) {
    const auto options = parse({"deploy", flake});
    ASSERT_TRUE(options) << options.error().message;
    EXPECT_EQ(options->fragment_hosts, names);
  }
  for (const char* wrong : {".#\"a", ".#a,", ".#", ".#\"\""}) EXPECT_FALSE(parse({"deploy", wrong})) << wrong;
}

TEST(Options, AllIsSentWhereTheUserSaysSo) {
  EXPECT_TRUE(parse({"deploy"})->substitute);
  EXPECT_FALSE(parse({"deploy", "--no-substitute"})->substitute);
  EXPECT_FALSE(parse({"push", "--no-substitute"})->substitute);
  EXPECT_FALSE(parse({"plan", "--no-substitute"})->substitute);
  EXPECT_FALSE(parse({"build", "--no-substitute"}));
}

TEST(Options, ASchemaGoesByTheNameOfItsOutputToo) {
  const std::pair<const char*, FleetSchema> names[] = {
      {"flurry", FleetSchema::kFlurry},
      {"deploy", FleetSchema::kDeployRs},
      {"colmena", FleetSchema::kColmena},
      {"colmenaHive", FleetSchema::kColmena},
      {"nixos", FleetSchema::kNixosConfigurations},
      {"nixosConfigurations", FleetSchema::kNixosConfigurations}};
  for (const auto& [name, schema] : names) {
    const auto options = parse({"hosts", "--schema", name});
    ASSERT_TRUE(options) << options.error().message;
    EXPECT_EQ(options->schema, schema) << name;
  }
}

TEST(Options, WordsForNixsSettingsReachNixAsSettings) {
  const auto options = parse({"build", "--max-jobs", "4", "--cores=0", "--builders", "", "--keep-failed"});
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->goal, Goal::kBuild);
  EXPECT_EQ(options->nix_options,
            (std::vector<std::pair<std::string, std::string>>{
                {"max-jobs", "4"}, {"cores", "0"}, {"builders", ""}, {"keep-failed", "true"}}));
  EXPECT_TRUE(parse({"build", "--max-jobs", "auto"}));
  EXPECT_EQ(error_of({"build", "--max-jobs", "many"}),
            "--max-jobs: 'many' is not a number from 1 to 10000; see 'flurry --help'");
  EXPECT_EQ(error_of({"build", "--cores", "-1"}),
            "--cores: '-1' is not a number from 1 to 10000; see 'flurry --help'");
}

TEST(Options, PushCopiesAndActivatesNothing) {
  const auto options = parse({"push", ".#web", "--sign-key", "/k"});
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->goal, Goal::kPush);
  EXPECT_EQ(options->sign_key, "/k");
}

TEST(Options, Forms) {
  EXPECT_EQ(parse({"hosts", "#web"})->flake, ".");
  EXPECT_EQ(parse({"hosts", "--", "-odd"})->flake, "-odd");
  EXPECT_EQ(parse({"--on", "x", "hosts"})->on, "x");
  EXPECT_EQ(parse({"rollback", "--to", "41"})->to_generation, 41U);
  EXPECT_EQ(parse({"--version"})->verb, Verb::kVersion);
  EXPECT_EQ(parse({})->verb, Verb::kHelp);
  EXPECT_EQ(parse({"help", "status"})->help, parse({"status", "-h"})->help);
}

TEST(Options, TakeASizeForTheEvaluationsMemory) {
  EXPECT_EQ(parse({"eval", "--eval-memory", "4G"})->eval_memory, size_t{4} << 30);
  EXPECT_EQ(parse({"deploy", "--eval-memory=512M"})->eval_memory, size_t{512} << 20);
  const std::string help = "; see 'flurry --help'";
  for (const char* bad : {"4", "G", "4GiB", "-4G", "4.5G", "99999999999999999999G"})
    EXPECT_EQ(error_of({"eval", "--eval-memory", bad}),
              "--eval-memory: '" + std::string(bad) + "' is not a size like 512M or 4G" + help);
  for (const char* bad : {"127M", "65T", "18014398509481985K"})
    EXPECT_EQ(error_of({"eval", "--eval-memory", bad}),
              "--eval-memory: '" + std::string(bad) + "' is not within 128M and 64T" + help);
}

TEST(Options, ErrorsSayWhatAndWhere) {
  const std::string help = "; see 'flurry --help'";
  EXPECT_EQ(error_of({"deplo"}), "unknown verb 'deplo' (did you mean 'deploy'?)" + help);
  EXPECT_EQ(error_of({"apply"}), "'apply' is not in this version yet" + help);
  EXPECT_EQ(error_of({"deploy", "--paralel", "3"}),
            "unknown option '--paralel' (did you mean '--parallel'?)" + help);
  EXPECT_EQ(error_of({"deploy", "--para", "3"}).substr(0, 23), "unknown option '--para'");
  EXPECT_EQ(error_of({"deploy", "-p", "0"}), "--parallel: '0' is not a number from 1 to 1000" + help);
  EXPECT_EQ(error_of({"deploy", "-p", "1001"}), "--parallel: '1001' is not a number from 1 to 1000" + help);
  EXPECT_EQ(error_of({"deploy", "-p"}), "--parallel needs N" + help);
  EXPECT_EQ(error_of({"deploy", "--option", "cores"}), "--option needs NAME VALUE" + help);
  EXPECT_EQ(error_of({"deploy", "--yes=1"}), "--yes takes no value" + help);
  EXPECT_EQ(
      error_of({"deploy", "--goal", "swich"}),
      "--goal: 'swich' is none of switch, test, boot, dry-activate, push, build (did you mean 'switch'?)" +
          help);
  EXPECT_EQ(error_of({"deploy", "--confirm-timeout", "5h"}),
            "--confirm-timeout: '5h' is not a time like 30, 30s or 2m" + help);
  EXPECT_EQ(error_of({"deploy", "--confirm-timeout", "1"}),
            "--confirm-timeout: '1' is not within 5s and 24h" + help);
  EXPECT_EQ(error_of({"deploy", "--to", "3"}),
            "'deploy' does not take --to; these do: rollback; see 'flurry deploy --help'");
  EXPECT_EQ(
      error_of({"deploy", ".", "web"}),
      "unexpected argument 'web'; select hosts by FLAKE#HOST,... or --on SEL; see 'flurry deploy --help'");
  EXPECT_EQ(error_of({"deploy", ".#a,,b"}), "'.#a,,b': '' after '#' is not a host's name" + help);
  EXPECT_EQ(error_of({"deploy", ""}), "the flake is empty" + help);
  EXPECT_EQ(error_of({"--yes"}), "a verb is missing" + help);
}

}  // namespace
}  // namespace flurry
