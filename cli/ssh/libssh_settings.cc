#include "cli/ssh/libssh_settings.h"

#include <algorithm>
#include <array>

namespace flurry::ssh {
namespace {

// What parse_ssh_config() reads, and leaves to the ssh program by itself where it can't be done.
constexpr auto kRead = std::to_array<std::string_view>(
    {"addressfamily", "ciphers", "connecttimeout", "globalknownhostsfile", "hashknownhosts", "hostkeyalias",
     "hostkeyalgorithms", "hostname", "identitiesonly", "identityagent", "identityfile", "kexalgorithms",
     "macs", "port", "proxyjump", "pubkeyacceptedalgorithms", "stricthostkeychecking", "user",
     "userknownhostsfile"});

// What means nothing for our connections, whatever it says.
constexpr auto kMeaningless = std::to_array<std::string_view>(
    {// Each of our connections is a new one, shared with nobody, and forwards nothing.
     "controlmaster", "controlpath", "controlpersist", "clearallforwardings", "dynamicforward",
     "localforward", "remoteforward", "exitonforwardfailure", "gatewayports", "permitremoteopen",
     "streamlocalbindmask", "streamlocalbindunlink", "tunneldevice", "forwardx11timeout", "forwardx11trusted",
     "xauthlocation",
     // Its commands have pipes and no terminal.
     "escapechar", "enableescapecommandline", "requesttty", "sessiontype", "stdinnull",
     "forkafterauthentication", "remotecommand", "ipqos", "obscurekeystroketiming", "visualhostkey",
     // Nobody is asked for a password; where no key is taken, the ssh program tries what else there is.
     "batchmode", "gssapiauthentication", "gssapiclientidentity", "gssapidelegatecredentials",
     "gssapikexalgorithms", "gssapikeyexchange", "gssapirenewalforcesrekey", "gssapiserveridentity",
     "gssapitrustdns", "hostbasedacceptedalgorithms", "hostbasedauthentication", "enablesshkeysign",
     "kbdinteractiveauthentication", "kbdinteractivedevices", "numberofpasswordprompts",
     "passwordauthentication", "addkeystoagent",
     // ssh has resolved the name by these when it prints it.
     "canonicaldomains", "canonicalizefallbacklocal", "canonicalizehostname", "canonicalizemaxdots",
     "canonicalizepermittedcnames", "host", "tag",
     // Kinds of keys that go by the ssh program anyway.
     "casignaturealgorithms", "requiredrsasize", "securitykeyprovider",
     // What ssh says and where, how it keeps a connection alive, what it writes down of a host's other keys.
     "fingerprinthash", "loglevel", "logverbose", "syslogfacility", "ignoreunknown", "warnweakcrypto",
     "serveralivecountmax", "serveraliveinterval", "tcpkeepalive", "updatehostkeys",
     // flurry packs what it sends itself.
     "compression"});

struct Only {
  std::string_view key, value;
};
// What libssh2 does as long as it says this: what it says unless somebody sets it. Others go by the ssh
// program.
constexpr auto kOnly = std::to_array<Only>({{"bindaddress", "none"},
                                            {"bindinterface", "none"},
                                            {"certificatefile", "none"},
                                            {"channeltimeout", "none"},
                                            {"checkhostip", "no"},
                                            {"connectionattempts", "1"},
                                            {"forwardagent", "no"},
                                            {"forwardx11", "no"},
                                            {"knownhostscommand", "none"},
                                            {"nohostauthenticationforlocalhost", "no"},
                                            {"permitlocalcommand", "no"},
                                            {"pkcs11provider", "none"},
                                            {"proxycommand", "none"},
                                            {"proxyusefdpass", "no"},
                                            {"pubkeyauthentication", "true"},
                                            {"pubkeyauthentication", "yes"},
                                            {"refuseconnection", "none"},
                                            {"rekeylimit", "0 0"},
                                            {"revokedhostkeys", "none"},
                                            // Words for people, which flurry's own commands don't print.
                                            {"sendenv", "LANG"},
                                            {"sendenv", "LC_*"},
                                            {"sendenv", "COLORTERM"},
                                            {"sendenv", "NO_COLOR"},
                                            {"tunnel", "false"},
                                            {"verifyhostkeydns", "false"},
                                            {"versionaddendum", "none"}});

template <size_t N>
bool has(const std::array<std::string_view, N>& list, std::string_view key) {
  return std::find(list.begin(), list.end(), key) != list.end();
}

}  // namespace

bool is_done_by_libssh(std::string_view key, std::string_view value) {
  return has(kRead, key) || has(kMeaningless, key) ||
         std::any_of(kOnly.begin(), kOnly.end(),
                     [&](const Only& only) { return only.key == key && only.value == value; });
}

}  // namespace flurry::ssh
