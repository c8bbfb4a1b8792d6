#include "tests/unit/eval/nix_sandbox.h"

#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <system_error>

#include "core/sys/clock.h"
#include "core/sys/subprocess.h"

namespace flurry::eval {
namespace {

namespace fs = std::filesystem;

constexpr const char* kFlakeHead = R"({ outputs = { self }: let
  mk = name: script: derivation { inherit name; system = "x86_64-linux"; builder = "/bin/sh"; args = [ "-c" script ]; };
  nixos = top: { config.system.build.toplevel = top; };
in {
)";

bool has_nix() {
  const auto version = sys::run_checked({.argv = {"nix", "--version"}}, sys::now() + Millis(10'000));
  return version.has_value();
}

}  // namespace

NixSandbox* NixSandbox::get(std::string& why_not) {
  static std::string reason;
  static const std::unique_ptr<NixSandbox> sandbox = []() -> std::unique_ptr<NixSandbox> {
    if (!has_nix()) reason = "no nix in PATH";
    if (reason.empty() && ::geteuid() != 0) reason = "needs root for a /nix of its own";
    if (!reason.empty()) return nullptr;
    std::string root = "/tmp/flurry-eval-test-XXXXXX";
    if (::mkdtemp(root.data()) == nullptr || !fs::exists("/nix")) {
      reason = "no temporary directory, or no /nix to mount on";
      return nullptr;
    }
    fs::create_directories(root + "/nix");
    fs::create_directories(root + "/home");
    const bool mounted = ::unshare(CLONE_NEWNS) == 0 &&
                         ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                         ::mount((root + "/nix").c_str(), "/nix", nullptr, MS_BIND, nullptr) == 0;
    if (!mounted) {
      reason = std::string("no mount namespace: ") + std::strerror(errno);
      return nullptr;
    }
    return std::unique_ptr<NixSandbox>(new NixSandbox(root));
  }();
  why_not = reason;
  return sandbox.get();
}

NixSandbox::~NixSandbox() {
  ::umount2("/nix", MNT_DETACH);
  std::error_code ignored;
  fs::remove_all(root_, ignored);
}

std::string NixSandbox::flake(const std::string& outputs) {
  return raw_flake(kFlakeHead + outputs + "\n}; }\n");
}

std::string NixSandbox::raw_flake(const std::string& text) {
  const std::string folder = root_ + "/flake" + std::to_string(flakes_++);
  fs::create_directories(folder);
  std::ofstream(folder + "/flake.nix") << text;
  return folder;
}

EvalOptions NixSandbox::options() const {
  EvalOptions options;
  options.environment = {"HOME=" + root_ + "/home", "XDG_CACHE_HOME=" + root_ + "/cache",
                         "NIX_REMOTE=", "NIX_CONFIG=sandbox = false\nbuild-users-group =\nsubstituters ="};
  options.workers_max = 2;
  return options;
}

}  // namespace flurry::eval
