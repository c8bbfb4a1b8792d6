#include "cli/host_session.h"

#include <sys/socket.h>

#include <array>
#include <fstream>

#include "cli/greeting.h"
#include "cli/remote_shell.h"
#include "cli/spare_connection.h"
#include "core/sys/clock.h"

namespace flurry {
namespace {

// The script's own answer to "there is no such agent here": an exit code that sh gives to a missing
// command too, and a first line on stderr that only it prints.
constexpr int kNoAgent = 127;
constexpr std::string_view kNoAgentMark = "flurry: no agent on ";
// As sh answers where a file is there and can't be executed.
constexpr int kNotExecutable = 126;
// Our own: nothing else that becomes root or runs a shell exits with it.
constexpr int kDamaged = 86;
constexpr Millis kExitWait{5000};

Target target_of(const HostConfig& host) {
  return {.host = host.name,
          .addresses = host.target_hosts,
          .port = host.target_port,
          .user = host.target_user,
          .identity_file = host.identity_file,
          .ssh_options = host.ssh_options};
}

// Of the keys that the run has seen; a connection dialled later must find the same.
SeenHostKeys seen_so_far(const HostSession::Dialling& dialling) {
  return dialling.seen != nullptr ? SeenHostKeys{dialling.seen->blobs, {}} : SeenHostKeys{};
}

std::string last_line(std::string_view text) {
  while (text.ends_with('\n') || text.ends_with('\r')) text.remove_suffix(1);
  const size_t start = text.rfind('\n');
  return std::string(start == std::string_view::npos ? text : text.substr(start + 1));
}

// Waits until the agent's side has said something: an HTTP/2 server speaks first. False: it ended.
Result<bool> wait_for_first_byte(int fd, TimePoint deadline) {
  for (;;) {
    char byte;
    const ssize_t n = ::recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (n >= 0) return n > 0;
    std::span<char> nothing;
    const auto readable = sys::read_some(fd, nothing, deadline);
    if (!readable) return readable.error();
  }
}

bool has(std::string_view text, std::string_view part) { return text.find(part) != text.npos; }

// What to do about it, by what sudo, doas or run0 say.
std::string advice_for(std::string_view said, const std::string& user, const std::string& escalate) {
  if (has(said, "must have a tty") || has(said, "requiretty"))
    return "its sudoers file has requiretty: add `Defaults:" + user + " !requiretty`";
  if (has(said, "command not found") || has(said, "No such file"))
    return "its secure_path lacks sh or coreutils: add their folder to it";
  if (has(said, "not in the sudoers") || has(said, "not allowed") || has(said, "may not run") ||
      has(said, "not permitted") || has(said, "denied"))
    return "no rule allows this user to become root by " + escalate +
           ": add one without a password, or set " + "privilegeEscalationCommand";
  return "allow this user to run commands by " + escalate +
         " without a password, or set privilegeEscalationCommand";
}

// `greeting`: what the login shell has printed on its standard output.
Error explain_exit(const RemoteExit& exit, const std::string& peer,
                   const std::vector<std::string>& escalation, const std::string& greeting) {
  std::string said = last_line(exit.standard_error);
  const std::string escalate = escalation.empty() ? "" : escalation.front();
  if (!escalate.empty() && has(said, escalate))
    return {ErrorKind::kRefused, peer + ": becoming root failed: " + said + "; " +
                                     advice_for(said, peer.substr(0, peer.find('@')), escalate)};
  if (has(said, "Permission denied") && exit.exit_code == kNotExecutable)
    return {ErrorKind::kRefused, peer + ": the agent can't be executed there (" + said +
                                     "): mount the file system of /var/lib/flurry with exec"};
  if (said.empty()) said = last_line(greeting);
  return {ErrorKind::kFailed, peer + ": the agent did not start (exit code " +
                                  std::to_string(exit.exit_code) +
                                  "): " + (said.empty() ? "it said nothing" : said)};
}

}  // namespace

Result<std::unique_ptr<HostSession>> HostSession::open(Transport& transport, const HostConfig& host,
                                                       const AgentBinary& binary, const Dialling& dialling) {
  std::unique_ptr<HostSession> session(new HostSession(host, binary));
  Target target = target_of(host);
  target.is_urgent = dialling.is_urgent;
  target.seen = dialling.seen;
  TimePoint deadline = sys::now() + dialling.patience;
  ASSIGN_OR_RETURN(auto connection, transport.dial(target, deadline));
  session->connection_ = std::make_unique<SpareConnection>(
      std::move(connection), [&transport, target, seen = seen_so_far(dialling)](TimePoint until) mutable {
        target.seen = &seen;
        return transport.dial(target, until);
      });
  // Part of the time may have passed in a queue; who hurries has none.
  if (!dialling.is_urgent) deadline = sys::now() + dialling.patience;
  const auto reached = session->reach_agent(deadline);
  if (reached && *reached) return session;
  if (!reached) {
    // A file that was damaged there does not start, and says nothing that would tell.
    if (reached.error().kind != ErrorKind::kFailed) return reached.error();
    const auto is_damaged = session->has_damaged_agent(deadline);
    if (!is_damaged || !*is_damaged) return reached.error();
  }
  RETURN_IF_ERROR(session->upload_agent(deadline));
  ASSIGN_OR_RETURN(const bool reached_now, session->reach_agent(deadline));
  if (!reached_now)
    return Error{ErrorKind::kFailed,
                 session->connection_->peer() + ": the agent is gone right after it was sent"};
  return session;
}

std::string HostSession::agent_command(const std::string& verb) const {
  const std::string path = shell_quote(binary_.remote_path());
  // One that can't be executed is tried too: its file system may be mounted noexec, and sh says so.
  return as_root("if [ -e " + path + " ]; then exec " + path + " " + verb + "; fi; echo '" +
                     std::string(kNoAgentMark) + "'\"$(uname -m)\" >&2; exit " + std::to_string(kNoAgent),
                 host_.privilege_escalation_command);
}

Result<bool> HostSession::reach_agent(TimePoint deadline) {
  agent_.reset();
  ASSIGN_OR_RETURN(bridge_, connection_->exec(agent_command("connect"), deadline));
  const auto greeting = pass_over_greeting(bridge_->io().get(), deadline);
  if (!greeting) return greeting.error().with_context(connection_->peer() + ": the agent does not answer");
  const auto speaks =
      greeting->has_begun ? wait_for_first_byte(bridge_->io().get(), deadline) : Result<bool>(false);
  if (!speaks) return speaks.error().with_context(connection_->peer() + ": the agent does not answer");
  if (!*speaks) {
    ASSIGN_OR_RETURN(const RemoteExit exit, bridge_->wait(sys::now() + kExitWait));
    const std::string said = last_line(exit.standard_error);
    if (exit.exit_code != kNoAgent || !said.starts_with(kNoAgentMark))
      return explain_exit(exit, connection_->peer(), host_.privilege_escalation_command, greeting->text);
    const std::string machine = said.substr(kNoAgentMark.size());
    if (machine != binary_.machine)
      return Error{ErrorKind::kUnsupported, connection_->peer() + ": the host is " + machine +
                                                ", the agent at hand is for " + binary_.machine +
                                                "; set FLURRY_AGENT to one for that machine"};
    return false;
  }
  ASSIGN_OR_RETURN(agent_, AgentClient::connect(std::move(bridge_->io()), deadline));
  return true;
}

Result<bool> HostSession::has_damaged_agent(TimePoint deadline) {
  const std::string script = "echo '" + binary_.sha256 + "  '" + shell_quote(binary_.remote_path()) +
                             " | sha256sum -c - >/dev/null 2>&1 || exit " + std::to_string(kDamaged);
  ASSIGN_OR_RETURN(auto process,
                   connection_->exec(as_root(script, host_.privilege_escalation_command), deadline));
  ASSIGN_OR_RETURN(const RemoteExit exit, process->wait(deadline));
  return exit.exit_code == kDamaged;
}

// Lands under its final name only whole and with the right hash. One that is there with that hash stays:
// another controller may have brought it meanwhile, and its agent runs from that file.
Result<void> HostSession::upload_agent(TimePoint deadline) {
  const std::string dir = shell_quote(binary_.remote_dir());
  const std::string script =
      "set -e; umask 077; mkdir -p " + dir + "; cd " + dir +
      "; t=.incoming.$$; trap 'rm -f $t' EXIT; cat > $t; echo '" + binary_.sha256 +
      "  '$t | sha256sum -c - >/dev/null; chmod 0700 $t; sync $t; ln $t flurry-agent 2>/dev/null || { echo "
      "'" +
      binary_.sha256 +
      "  flurry-agent' | sha256sum -c - >/dev/null 2>&1 && [ -x flurry-agent ]; } || mv -f $t flurry-agent";
  ASSIGN_OR_RETURN(auto process,
                   connection_->exec(as_root(script, host_.privilege_escalation_command), deadline));
  std::ifstream file(binary_.local_path, std::ios::binary);
  std::vector<char> buffer(256 << 10);
  Result<void> sent;
  while (file && sent) {
    file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    sent = sys::write_all(process->io().get(), {buffer.data(), static_cast<size_t>(file.gcount())}, deadline);
  }
  ::shutdown(process->io().get(), SHUT_WR);
  ASSIGN_OR_RETURN(const RemoteExit exit, process->wait(deadline));
  if (exit.exit_code == 0 && sent) return {};
  const Error error = explain_exit(exit, connection_->peer(), host_.privilege_escalation_command, "");
  const bool is_full = exit.standard_error.find("No space left") != std::string::npos;
  if (is_full)
    return Error{ErrorKind::kNoSpace, connection_->peer() +
                                          ": no space for the agent (20 MB below /var/lib/flurry): " +
                                          last_line(exit.standard_error)};
  return error.with_context("bring the agent along");
}

}  // namespace flurry
