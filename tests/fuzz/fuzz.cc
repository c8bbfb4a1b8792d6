#include "tests/fuzz/fuzz.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  flurry::fuzz::run_one({reinterpret_cast<const char*>(data), size});
  return 0;
}
