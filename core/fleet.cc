#include "core/fleet.h"

#include <utility>

namespace flurry {

std::vector<std::string> doubtful_addresses(const Fleet& fleet) {
  // Behind a jump host, in another network, the same address may be another machine.
  std::map<std::pair<std::string, std::vector<std::string>>, std::vector<std::string>> names;
  for (const auto& host : fleet.hosts) {
    if (host.error || host.target_hosts.empty()) continue;
    std::string address = host.target_hosts.front();
    if (host.target_port) address += " port " + std::to_string(*host.target_port);
    names[{address, host.ssh_options}].push_back(host.name.str());
  }
  std::vector<std::string> out;
  for (const auto& [address, hosts] : names) {
    if (hosts.size() < 2) continue;
    std::string all;
    for (size_t i = 0; i < hosts.size(); ++i)
      all += (i == 0 ? "" : i + 1 == hosts.size() ? " and " : ", ") + hosts[i];
    out.push_back(all + " have the same address, " + address.first +
                  ": if they are one machine, the second deployment finds it held by the first");
  }
  return out;
}

}  // namespace flurry
