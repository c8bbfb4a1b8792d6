#include "cli/verbs/verbs.h"

namespace flurry {

int run_hosts(Context& context) {
  const auto fleet = load_selected(context, Reach::kNone);
  if (!fleet) return fail_run(context, fleet.error());
  for (const HostConfig& host : fleet->hosts) {
    HostListing listing{host.name.str(),
                        host.target_hosts,
                        host.target_user.value_or(""),
                        host.target_port,
                        host.tags,
                        ordered_profiles(host),
                        {},
                        {},
                        host.error ? host.error->message : ""};
    for (const auto& check : host.health.checks) listing.checks.push_back(check.name);
    for (const auto& needed : host.requires_hosts) listing.requires_hosts.push_back(needed.str());
    context.reporter.listed(listing);
  }
  return code_of_errors(*fleet);
}

}  // namespace flurry
