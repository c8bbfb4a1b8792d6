#include "cli/agent_binary.h"

#include <elf.h>
#include <openssl/evp.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <system_error>
#include <vector>

namespace flurry {
namespace {

namespace fs = std::filesystem;

Result<std::string> locate() {
  std::vector<fs::path> places;
  if (const char* given = std::getenv("FLURRY_AGENT")) {
    places.emplace_back(given);
  } else {
    std::error_code error;
    const fs::path self = fs::read_symlink("/proc/self/exe", error).parent_path();
    places = {self / "flurry-agent", self / "../libexec/flurry/flurry-agent"};
  }
  for (const auto& place : places) {
    std::error_code error;
    if (fs::is_regular_file(place, error)) return place.string();
  }
  return Error{ErrorKind::kInvalidInput, "the agent binary is not there: " + places.front().string() +
                                             "; set FLURRY_AGENT to its path"};
}

std::string hex(const unsigned char* bytes, size_t count) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < count; ++i) {
    out += kDigits[bytes[i] >> 4];
    out += kDigits[bytes[i] & 15];
  }
  return out;
}

Result<std::string> machine_of(const std::array<char, sizeof(Elf64_Ehdr)>& start, const std::string& path) {
  Elf64_Ehdr header;
  std::memcpy(&header, start.data(), sizeof header);
  const bool is_elf = std::memcmp(header.e_ident, ELFMAG, SELFMAG) == 0;
  if (is_elf && header.e_machine == EM_X86_64) return std::string("x86_64");
  if (is_elf && header.e_machine == EM_AARCH64) return std::string("aarch64");
  return Error{ErrorKind::kInvalidInput, path + " is not a Linux program for a machine that flurry knows"};
}

}  // namespace

Result<AgentBinary> find_agent_binary() {
  ASSIGN_OR_RETURN(const std::string path, locate());
  std::ifstream file(path, std::ios::binary);
  const std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> hash(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  EVP_DigestInit_ex(hash.get(), EVP_sha256(), nullptr);
  std::array<char, sizeof(Elf64_Ehdr)> start{};
  std::vector<char> buffer(1 << 20);
  for (bool is_first = true; file; is_first = false) {
    file.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    const auto count = static_cast<size_t>(file.gcount());
    EVP_DigestUpdate(hash.get(), buffer.data(), count);
    if (is_first && count >= start.size()) std::memcpy(start.data(), buffer.data(), start.size());
  }
  if (!file.eof()) return Error{ErrorKind::kFailed, path + " could not be read"};
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int length = 0;
  EVP_DigestFinal_ex(hash.get(), digest, &length);
  ASSIGN_OR_RETURN(std::string machine, machine_of(start, path));
  return AgentBinary{path, hex(digest, length), std::move(machine)};
}

}  // namespace flurry
