#pragma once

#include <cstdio>
#include <cstdlib>

// Aborts with the condition and its place. For bugs only: never for input or the environment.
#define FLURRY_CHECK(condition)                                                               \
  do {                                                                                        \
    if (!(condition)) {                                                                       \
      std::fprintf(stderr, "%s:%d: bug: %s does not hold\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                           \
    }                                                                                         \
  } while (false)
