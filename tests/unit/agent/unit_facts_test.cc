#include "agent/unit_facts.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "agent/boot_default.h"
#include "agent/switch_program.h"
#include "agent/unit_journal.h"
#include "agent/unit_list.h"
#include "tests/unit/agent/temp_dir.h"

namespace flurry::agent {
namespace {

// One unit as `systemctl show` prints it, active and wanted, but for what is given.
std::string shown(const std::string& name, const std::string& more = "") {
  return more + "Id=" + name +
         "\nActiveState=active\nType=simple\nRemainAfterExit=no\nFragmentPath=/etc/systemd/system/" + name +
         "\nWantedBy=multi-user.target\n\n";
}

bool is_steady(const std::string& text) { return !steady_units_of(text).empty(); }

TEST(SteadyUnits, AreThoseThatNothingButAJobOrAFailureEnds) {
  EXPECT_EQ(steady_units_of(shown("web.service") + shown("mnt-f.mount")),
            (std::vector<SteadyUnit>{{"mnt-f.mount"}, {"web.service"}}));
}

TEST(SteadyUnits, AreNotThoseThatEndByThemselves) {
  EXPECT_FALSE(is_steady("Type=oneshot\n" + shown("backup.service")));
  EXPECT_TRUE(is_steady("Type=oneshot\nRemainAfterExit=yes\n" + shown("setup.service")));
  EXPECT_FALSE(is_steady("TriggeredBy=backup.timer\n" + shown("backup.service")));
  EXPECT_FALSE(is_steady("StopWhenUnneeded=yes\n" + shown("sound.target")));
  EXPECT_FALSE(is_steady("FragmentPath=/run/systemd/transient/run-1.service\n" + shown("run-1.service")));
  EXPECT_FALSE(is_steady("ActiveState=activating\n" + shown("slow.service")));
  EXPECT_FALSE(is_steady(shown("user@1000.service")));
  EXPECT_FALSE(is_steady(shown("session-1.scope")));
  EXPECT_FALSE(is_steady(shown("flurry-agent.service")));
}

TEST(SteadyUnits, MayEndWhereABusNameBringsThemBackOrNobodyWantsThem) {
  EXPECT_EQ(steady_units_of("BusName=org.example.Mime\n" + shown("mime.service")),
            (std::vector<SteadyUnit>{{"mime.service", true}}));
  EXPECT_EQ(steady_units_of("WantedBy=\n" + shown("by-hand.service")),
            (std::vector<SteadyUnit>{{"by-hand.service", true}}));
}

// As journalctl exports them.
const std::string kEndedWell = "__CURSOR=s=1\nMESSAGE_ID=7ad2d189f7e94e70a38c781354912448\n\n";
std::string job_message(const std::string& job) {
  return "__CURSOR=s=1\nJOB_TYPE=" + job + "\nMESSAGE_ID=39f53479d3a045ac8e11786248231fbf\n\n";
}

TEST(EndByItself, IsAGoodEndThatNoJobBroughtAbout) {
  EXPECT_TRUE(tells_end_by_itself(kEndedWell));
  EXPECT_TRUE(tells_end_by_itself(job_message("start") + kEndedWell));
  EXPECT_FALSE(tells_end_by_itself(job_message("stop") + kEndedWell));
  EXPECT_FALSE(tells_end_by_itself(job_message("restart") + kEndedWell));
  EXPECT_FALSE(tells_end_by_itself(kEndedWell + job_message("stop")));
}

TEST(EndByItself, OfAnEarlierRunIsNotTheEndOfThisOne) {
  EXPECT_FALSE(tells_end_by_itself(kEndedWell + job_message("start")));
}

TEST(EndByItself, IsNotToldByWhatCantBeRead) {
  EXPECT_FALSE(tells_end_by_itself(""));
  EXPECT_FALSE(tells_end_by_itself("garbage\n"));
  EXPECT_FALSE(tells_end_by_itself("MESSAGE_ID\n\x01\n"));
}

TEST(UnitList, HasLoadActiveAndFinerState) {
  const auto units = parse_unit_list(
      "web.service loaded active running The web\nx.service not-found inactive dead x\nbad\n");
  ASSERT_EQ(units.size(), 2u);
  EXPECT_EQ(units[0].active, "active");
  EXPECT_EQ(units[0].state, "running");
  EXPECT_EQ(units[1].load, "not-found");
}

TEST(JobList, HasUnitAndType) {
  const auto jobs =
      parse_job_list("  12 web.service start running\n13 db.service stop waiting\nNo jobs running.\n");
  ASSERT_EQ(jobs.size(), 2u);
  EXPECT_EQ(jobs[0].unit, "web.service");
  EXPECT_EQ(jobs[0].type, "start");
  EXPECT_EQ(jobs[1].type, "stop");
}

void write(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path) << text;
}

const std::string kSystem = "/nix/store/00000000000000000000000000000000-nixos-system-h1";

TEST(BootDefault, IsTheSystemOfTheEntryThatSystemdBootsFileNames) {
  const TempDir root;
  EXPECT_FALSE(read_boot_default(root.str()));
  write(root.str() + "/boot/loader/loader.conf",
        "timeout 5\ndefault nixos-generation-7.conf\nconsole-mode keep\n");
  EXPECT_FALSE(read_boot_default(root.str())) << "the entry is missing";
  write(root.str() + "/boot/loader/entries/nixos-generation-7.conf",
        "title NixOS\nlinux /EFI/nixos/k.efi\noptions init=" + kSystem + "/init loglevel=4\n");
  ASSERT_TRUE(read_boot_default(root.str()));
  EXPECT_EQ(read_boot_default(root.str())->str(), kSystem);
}

TEST(BootDefault, IsNotGuessed) {
  for (const std::string entry : {"nixos-*", "@saved", "../../etc/x.conf", "auto-windows"}) {
    const TempDir root;
    write(root.str() + "/boot/loader/loader.conf", "default " + entry + "\n");
    write(root.str() + "/boot/loader/entries/" + std::filesystem::path(entry).filename().string(),
          "options init=" + kSystem + "/init\n");
    EXPECT_FALSE(read_boot_default(root.str())) << entry;
  }
}

TEST(SwitchProgram, TellsOfAFailedActivationWhereItHoldsTheSentenceForIt) {
  const TempDir root;
  const auto system = *StorePath::parse(kSystem);
  const std::string program = root.str() + kSystem + "/bin/switch-to-configuration";
  write(program, "#!/bin/sh\necho other words\n");
  EXPECT_FALSE(tells_failed_activation(root.str(), system));
  write(program, "#!/bin/sh\necho 'Failed to run activate script'\n");
  EXPECT_TRUE(tells_failed_activation(root.str(), system));
}

TEST(SwitchProgram, IsTheOneThatAWrapperNames) {
  const TempDir root;
  const auto system = *StorePath::parse(kSystem);
  const std::string real =
      "/nix/store/11111111111111111111111111111111-switch-to-configuration-0.1.0/bin/switch-to-configuration";
  write(root.str() + kSystem + "/bin/switch-to-configuration", std::string("\x7f"
                                                                           "ELF\0",
                                                                           5) +
                                                                   "exec " + real + "\0 OUT=x");
  EXPECT_FALSE(tells_failed_activation(root.str(), system)) << "what it names is not there";
  write(root.str() + real,
        "\x7f"
        "ELF Failed to run activate script");
  EXPECT_TRUE(tells_failed_activation(root.str(), system));
}

}  // namespace
}  // namespace flurry::agent
