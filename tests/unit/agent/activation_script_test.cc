#include "agent/activation_script.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace flurry::agent {
namespace {

// As deploy-rs's activate.custom writes it around what a profile says.
std::string script(const std::string& activate) {
  return "#!/nix/store/00000000000000000000000000000000-bash/bin/bash\n"
         "set -euo pipefail\n\n"
         "if [[ \"${DRY_ACTIVATE:-}\" == \"1\" ]]\nthen\n"
         "    $PROFILE/bin/switch-to-configuration dry-activate\n"
         "elif [[ \"${BOOT:-}\" == \"1\" ]]\nthen\n"
         "    $PROFILE/bin/switch-to-configuration boot\n"
         "else\n    " +
         activate + "\nfi\n";
}

const std::string kSwitch = "$PROFILE/bin/switch-to-configuration switch";

TEST(ActivationScript, OfActivateNixosOnlySwitches) {
  EXPECT_TRUE(only_switches(script("# work around an issue\ncd /tmp\n\n" + kSwitch +
                                   "\n\n# and another\nsed -i '/^default /d' /boot/loader/loader.conf\n")));
  EXPECT_TRUE(only_switches(script(kSwitch)));
  EXPECT_TRUE(only_switches("#!/bin/sh\nexec \"$PROFILE/bin/switch-to-configuration\" switch\n"));
}

TEST(ActivationScript, WithStepsOfItsOwnDoesMore) {
  const std::vector<std::string> scripts = {
      "echo pre >> f\n" + kSwitch + "\necho post >> f",
      kSwitch + "; systemctl restart app",
      kSwitch + " && touch /done",
      kSwitch + " | tee /log",
      "migrate\n" + kSwitch,
      kSwitch + "\n$(migrate)",
      "cd $(migrate)\n" + kSwitch,
      "cd /tmp migrate\n" + kSwitch,
      "cd \"`migrate`\"\n" + kSwitch,
      "if migrate; then\n" + kSwitch + "\nfi",
      "if [[ \"$(migrate)\" == \"1\" ]]\nthen\n" + kSwitch + "\nfi",
      kSwitch + " \\\n  --more",
      "sed -i 's/a/b/' /etc/app.conf\n" + kSwitch,
      "/nix/store/00000000000000000000000000000000-other/bin/switch-to-configuration switch",
  };
  for (const auto& own : scripts) EXPECT_FALSE(only_switches(script(own))) << own;
}

TEST(ActivationScript, ThatNeverSwitchesIsNotASystems) {
  EXPECT_FALSE(only_switches(""));
  EXPECT_FALSE(only_switches("#!/bin/sh\n# $PROFILE/bin/switch-to-configuration switch\n"));
}

}  // namespace
}  // namespace flurry::agent
