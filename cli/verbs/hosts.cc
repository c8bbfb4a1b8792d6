#include "cli/verbs/verbs.h"

namespace flurry {

int run_hosts(Context& context) {
  const auto fleet = load_selected(context);
  if (!fleet) return fail_run(context, fleet.error());
  for (const HostConfig& host : fleet->hosts)
    context.reporter.listed(
        {host.name.str(), host.target_hosts, host.target_user.value_or(""), host.target_port, host.tags});
  return 0;
}

}  // namespace flurry
