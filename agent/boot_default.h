#pragma once

#include <optional>
#include <string>

#include "core/names.h"

namespace flurry::agent {

// The system that the boot loader starts next, as its files below `root` say it: systemd-boot's loader.conf
// and the entry that it names (nixpkgs, systemd-boot-builder.py). Nothing for every other loader, and
// wherever something may overrule the file (a pattern, an EFI variable): a guess would be an untrue outcome.
// Any thread.
std::optional<StorePath> read_boot_default(const std::string& root);

}  // namespace flurry::agent
