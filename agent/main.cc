#include "agent/host.h"
#include "agent/verbs.h"

int main(int argc, char** argv) {
  return flurry::agent::run_verb(argc, argv, flurry::agent::make_nixos_host);
}
