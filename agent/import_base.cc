#include "agent/import_base.h"

#include "core/delta/hash_pairs.h"

namespace flurry::agent {

Result<delta::DeltaReader> open_base(nix::Daemon& store, const std::string& store_dir, const StorePath& base,
                                     const std::string& base_hash, const nix::PathInfo& path,
                                     delta::DeltaReader::Input input, TimePoint deadline) {
  // First held, then asked for: what is valid after that stays.
  RETURN_IF_ERROR(store.add_temp_roots({&base, 1}, deadline));
  ASSIGN_OR_RETURN(const auto known, store.query_path_info(base, deadline));
  if (!known) return Error{ErrorKind::kUnsupported, "this host has no " + base.str()};
  if (known->nar_hash != base_hash)
    return Error{ErrorKind::kUnsupported, "this host has another " + base.str()};
  const std::string files = store_dir + base.str().substr(base.str().rfind('/'));
  return delta::DeltaReader(files, delta::hash_pairs(*known, path), path.nar_size, std::move(input));
}

}  // namespace flurry::agent
