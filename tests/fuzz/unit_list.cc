// systemctl's list of units: a name is one word of its line.
#include "agent/unit_list.h"

#include "tests/fuzz/fuzz.h"

namespace flurry::fuzz {

void run_one(std::string_view text) {
  size_t total = 0;
  for (const auto& unit : agent::parse_unit_list(text)) {
    FLURRY_CHECK(!unit.name.empty() && unit.name.find_first_of(" \n") == std::string::npos);
    FLURRY_CHECK(!unit.state.empty() && unit.state.find_first_of(" \n") == std::string::npos);
    FLURRY_CHECK(text.find(unit.name) != std::string_view::npos);
    total += unit.name.size() + unit.state.size();
  }
  FLURRY_CHECK(total <= text.size());
  for (const auto& job : agent::parse_job_list(text))
    FLURRY_CHECK(!job.unit.empty() && !job.type.empty() && text.find(job.unit) != std::string_view::npos);
  for (const auto& unit : agent::parse_unit_properties(text)) FLURRY_CHECK(!unit.empty());
}

}  // namespace flurry::fuzz
