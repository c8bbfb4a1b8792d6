#include "cli/ssh/login.h"

#include <algorithm>
#include <cstdlib>

#include "cli/ssh/agent_client.h"
#include "cli/ssh/await.h"
#include "cli/ssh/encoding.h"
#include "cli/ssh/identity.h"
#include "cli/ssh/ssh_session.h"

namespace flurry::ssh {
namespace {

// A frozen agent must not use up the whole dial; a person who confirms on a token needs some time.
constexpr Millis kAgentListMax{5000};

struct Identity {
  std::string path;
  KeyFile key;
};

std::string short_path(const std::string& path) {
  const char* home = std::getenv("HOME");
  const std::string prefix = home != nullptr ? std::string(home) + "/" : "";
  return !prefix.empty() && path.starts_with(prefix) ? "~/" + path.substr(prefix.size()) : path;
}

class Login {
 public:
  Login(SshLoop& loop, SessionId session, const SshConfig& config, TimePoint deadline)
      : loop_(loop), session_(session), config_(config), deadline_(deadline) {
    for (const auto& path : config.identity_files) identities_.push_back({path, inspect_key_file(path)});
  }

  Result<void> run() {
    ASSIGN_OR_RETURN(const auto first, ask(LoginRequest::Step::kList, ""));
    if (first.answer == LoginReply::Answer::kAccepted) return {};
    if (("," + first.text + ",").find(",publickey,") == std::string::npos)
      return Error{ErrorKind::kUnsupported, "login as " + config_.user + " refused: the server takes only " +
                                                first.text + ", flurry logs in by key"};
    ASSIGN_OR_RETURN(const bool by_agent, try_agent());
    if (by_agent) return {};
    ASSIGN_OR_RETURN(const bool by_file, try_files());
    if (by_file) return {};
    return refusal();
  }

 private:
  Result<LoginReply> ask(LoginRequest::Step step, const std::string& text) {
    auto future = loop_.login(session_, {step, config_.user, text});
    auto reply = await(future, deadline_, "login as " + config_.user);
    if (reply || tried_.empty() || reply.error().kind != ErrorKind::kUnreachable) return reply;
    // Servers end the connection after a few wrong keys (MaxAuthTries).
    return Error{ErrorKind::kRefused, "login as " + config_.user + ": " + reply.error().message + " (tried " +
                                          tried_ + "); if there are many keys in the agent, name one " +
                                          "with identityFile and set IdentitiesOnly=yes"};
  }

  // RSA keys sign with SHA-1 in this libssh2, which servers refuse since OpenSSH 8.8.
  bool is_usable(std::string_view type) const {
    return is_usable_type(type) && has_algorithm(config_.accepted_keys, type);
  }

  bool is_named(const AgentKey& key) const {
    return std::any_of(identities_.begin(), identities_.end(),
                       [&](const Identity& i) { return i.key.public_blob == key.blob; });
  }

  Result<bool> try_agent() {
    if (config_.agent_socket.empty()) return false;
    auto agent = AgentClient::connect(config_.agent_socket);
    if (!agent) return note(agent.error().message);
    auto keys = agent->keys(std::min(deadline_, sys::now() + kAgentListMax));
    if (!keys) {
      is_agent_silent_ = keys.error().kind == ErrorKind::kTimedOut;
      return note(keys.error().message);
    }
    std::stable_partition(keys->begin(), keys->end(), [this](const auto& k) { return is_named(k); });
    if (config_.identities_only) std::erase_if(*keys, [this](const auto& k) { return !is_named(k); });
    for (const auto& key : *keys) agent_blobs_.push_back(key.blob);
    note("agent (" + std::to_string(keys->size()) + (keys->size() == 1 ? " key)" : " keys)"));
    for (const auto& key : *keys) {
      ASSIGN_OR_RETURN(const bool accepted, try_agent_key(*agent, key));
      if (accepted) return true;
    }
    return false;
  }

  Result<bool> try_agent_key(AgentClient& agent, const AgentKey& key) {
    if (!is_usable(key_type(key.blob))) return false;
    ASSIGN_OR_RETURN(auto reply, ask(LoginRequest::Step::kAgentKey, key.blob));
    if (reply.answer == LoginReply::Answer::kSignThis) {
      const auto signature = agent.sign(key.blob, reply.text, deadline_);
      if (!signature && signature.error().kind == ErrorKind::kTimedOut) return signature.error();
      // The server waits for a signature, and libssh2 knows no way back: an invalid one is refused.
      ASSIGN_OR_RETURN(auto second,
                       ask(LoginRequest::Step::kSignature, signature ? *signature : std::string("none")));
      if (!signature) note("agent key " + key.comment + ": " + signature.error().message);
      reply = std::move(second);
    }
    return reply.answer == LoginReply::Answer::kAccepted;
  }

  Result<bool> try_files() {
    for (const auto& identity : identities_) {
      const auto& blob = identity.key.public_blob;
      if (!blob.empty() && std::find(agent_blobs_.begin(), agent_blobs_.end(), blob) != agent_blobs_.end())
        continue;
      const auto shown = short_path(identity.path);
      if (!identity.key.type.empty() && !is_usable(identity.key.type)) {
        note(shown + " (" + identity.key.type + ")");
        continue;
      }
      if (identity.key.is_encrypted) {
        note(shown + " (has a passphrase; run `ssh-add " + shown + "` first)");
        continue;
      }
      ASSIGN_OR_RETURN(const auto reply, ask(LoginRequest::Step::kKeyFile, identity.path));
      if (reply.answer == LoginReply::Answer::kAccepted) return true;
      note(shown + ": " + reply.text);
    }
    return false;
  }

  bool note(const std::string& what) {
    tried_ += (tried_.empty() ? "" : ", ") + what;
    return false;
  }

  Error refusal() const {
    const std::string head = "login as " + config_.user + " refused; tried ";
    const std::string advice = "; put a public key into ~/.ssh/authorized_keys of " + config_.user +
                               " on the host, or name the right key with identityFile or ssh-add";
    // The ssh program would wait for the same agent.
    return {is_agent_silent_ ? ErrorKind::kRefused : ErrorKind::kUnsupported,
            head + (tried_.empty() ? "nothing: there is no agent and no key file" : tried_) + advice};
  }

  SshLoop& loop_;
  const SessionId session_;
  const SshConfig& config_;
  const TimePoint deadline_;
  std::vector<Identity> identities_;
  std::vector<std::string> agent_blobs_;
  std::string tried_;
  bool is_agent_silent_ = false;
};

}  // namespace

Result<void> log_in(SshLoop& loop, SessionId session, const SshConfig& config, TimePoint deadline) {
  return Login(loop, session, config, deadline).run();
}

}  // namespace flurry::ssh
