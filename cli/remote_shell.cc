#include "cli/remote_shell.h"

#include <openssl/evp.h>

namespace flurry {

std::string shell_quote(std::string_view text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'')
      out += "'\\''";
    else
      out += c;
  }
  return out + "'";
}

namespace {

std::string base64(std::string_view bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');
  const int size =
      ::EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                        reinterpret_cast<const unsigned char*>(bytes.data()), static_cast<int>(bytes.size()));
  out.resize(static_cast<size_t>(size));
  return out;
}

}  // namespace

std::string as_root(std::string_view script, const std::vector<std::string>& escalation) {
  const std::string run = "sh -c " + shell_quote(script);
  std::string prefix;
  for (const auto& word : escalation) prefix += shell_quote(word) + " ";
  const std::string whole =
      "if [ \"$(id -u)\" -eq 0 ]; then exec " + run + "; else exec " + prefix + run + "; fi";
  return "exec sh -c 'eval \"$(echo " + base64(whole) + " | base64 -d)\"'";
}

}  // namespace flurry
