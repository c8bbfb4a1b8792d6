#include "agent/verbs.h"
#include "tests/lab/faultagent/faulty_host.h"

int main(int argc, char** argv) {
  return flurry::agent::run_verb(argc, argv, flurry::agent::make_faulty_host);
}
