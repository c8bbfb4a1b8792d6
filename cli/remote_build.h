#pragma once

#include <functional>
#include <stop_token>
#include <string>
#include <string_view>

#include "cli/copy/signing_key.h"
#include "cli/host_session.h"
#include "core/names.h"
#include "core/nix/daemon.h"
#include "core/profile.h"

namespace flurry {

// Builds on the host itself: copies the derivation with all that it needs from `store`, and lets the host's
// Nix build or substitute. When it returns, the host has the output, synced and held by a GC root of the
// deployment. `on_line` gets the lines of build logs, as of a build here. `settings` are for the
// host's NIX_CONFIG; no list of processes and no log of sudo shows them. `key` signs what is copied; it may
// be null. A lost connection or a stop ends the build on the host. One thread.
Result<void> build_on_target(HostSession& session, const DeploymentId& deployment,
                             const ProfileDerivation& derivation, nix::Daemon& store,
                             const std::string& settings, const copy::SigningKey* key,
                             const std::function<void(std::string_view)>& on_line, TimePoint deadline,
                             const std::stop_token& stop);

}  // namespace flurry
