// A journal's payload: what was read and is written again is read as the same.
#include "agent/convert.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/records.h"

namespace flurry::fuzz {

void run_one(std::string_view bytes) {
  const auto record = agent::decode_record(bytes);
  if (!record) return check_told(record.error(), bytes.size());
  const std::string written = agent::encode_record(*record);
  FLURRY_CHECK(written.size() <= 2 * bytes.size() + 64);
  const auto again = agent::decode_record(written);
  FLURRY_CHECK(again);
  FLURRY_CHECK(is_same(*again, cleaned(*record)));
}

}  // namespace flurry::fuzz
