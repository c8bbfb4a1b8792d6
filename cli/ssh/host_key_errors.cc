#include "cli/ssh/host_key_errors.h"

#include "cli/ssh/encoding.h"
#include "cli/ssh/host_key.h"

namespace flurry::ssh {
namespace {

std::string kind_of(std::string_view blob) {
  const auto type = key_type(blob);
  if (type == "ssh-ed25519") return "ED25519";
  if (type == "ssh-rsa") return "RSA";
  return type.starts_with("ecdsa-") ? "ECDSA" : type;
}

std::string quoted(const std::string& text) {
  return text.find_first_of("[]* ") == text.npos ? text : "'" + text + "'";
}

}  // namespace

std::string shown_key(std::string_view blob) { return kind_of(blob) + " key " + fingerprint(blob); }

Error unknown_key(const SshConfig& config, const std::string& shown) {
  const std::string port = config.port == 22 ? "" : "-p " + std::to_string(config.port) + " ";
  return {ErrorKind::kRefused,
          "host key of " + known_name(config) + " is not known: it shows the " + shown +
              ". If that is right, run `ssh " + port + config.hostname +
              "` once and answer yes, or `ssh-keyscan " + port + config.hostname + " >> " +
              (config.user_known_hosts.empty() ? "~/.ssh/known_hosts" : config.user_known_hosts.front()) +
              "`, or set StrictHostKeyChecking=accept-new"};
}

Error changed_key(const SshConfig& config, const KnownKey& on_file, const std::string& shown) {
  return {ErrorKind::kRefused,
          "host key of " + known_name(config) + " has changed: it shows the " + shown + ", but " +
              on_file.where() + " holds the " + shown_key(on_file.blob) +
              ". Someone may be in between. If the host was reinstalled, run `ssh-keygen -f " +
              quoted(on_file.file) + " -R " + quoted(known_name(config)) + "`"};
}

Error revoked_key(const std::string& name, const KnownKey& on_file, std::string_view blob) {
  return {ErrorKind::kRefused,
          "host key " + fingerprint(blob) + " of " + name + " is marked @revoked at " + on_file.where()};
}

Error other_than_seen(const SshConfig& config, std::string_view before, std::string_view now) {
  return {ErrorKind::kRefused,
          "host key of " + known_name(config) + " has changed during this run: it shows the " +
              shown_key(now) + ", but showed the " + shown_key(before) +
              " before. Someone may be in between, or the name leads to another machine"};
}

}  // namespace flurry::ssh
