#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/reporter.h"
#include "core/activation_record.h"
#include "core/health_policy.h"
#include "core/host_deployment.h"
#include "core/names.h"
#include "core/result.h"
#include "core/sys/fd.h"
#include "core/time.h"

namespace flurry {

struct GenerationEntry {
  uint64_t number = 0;
  StorePath path;
  long long created_unix_ms = 0;
  std::string profile = {};  // of a user; empty: the system's
};

// Everything that Inspect tells.
struct Inspection {
  HostFacts facts;
  std::string booted;
  bool reboot_needed = false;
  std::string system_running;
  uint64_t store_free_bytes = 0;
  std::optional<PastDeployment> active;
  std::optional<PastDeployment> last;
  std::vector<GenerationEntry> generations;  // only where asked for
  std::vector<std::string> notes;            // what somebody should know of this host
};

// Calls the agent of one host over a byte stream that leads to it. One thread at a time. Errors:
// kUnreachable (the stream died), kTimedOut, kRefused (the agent said no; its words), kExhausted (it was
// asked too much at once, for seconds), kInvalidInput.
class AgentClient {
 public:
  // Takes `stream` over and says hello: an agent that speaks another protocol is kUnsupported.
  static Result<std::unique_ptr<AgentClient>> connect(sys::Fd stream, TimePoint deadline);
  ~AgentClient();

  const std::string& version() const { return version_; }

  // The system, and these other profiles.
  Result<Inspection> inspect(const std::vector<ProfileRef>& profiles, bool with_generations,
                             TimePoint deadline);
  Result<void> begin(const ActivationSpec& spec, TimePoint deadline);
  Result<AgentView> observe(const DeploymentId& deployment, uint64_t seen, Millis wait);
  Result<AgentView> confirm(const DeploymentId& deployment, const std::string& nonce, TimePoint deadline);
  // Newest first; at most `count`, 100 where it is more.
  Result<std::vector<PastDeployment>> history(uint32_t count, TimePoint deadline);
  Result<std::vector<CheckReport>> check(const HealthPolicy& policy, TimePoint deadline);

 private:
  struct Channel;
  explicit AgentClient(std::unique_ptr<Channel> channel);

  std::unique_ptr<Channel> channel_;
  std::string version_;
};

}  // namespace flurry
