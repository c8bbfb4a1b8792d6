#include "agent/host.h"

#include "agent/nixos_system.h"

namespace flurry::agent {

Host make_nixos_host(const Paths& paths, const std::string& program, bool is_deadman) {
  return {std::make_unique<NixosSystem>(paths, program, is_deadman),
          std::make_unique<FileJournal>(paths.journals())};
}

}  // namespace flurry::agent
