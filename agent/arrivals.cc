#include "agent/arrivals.h"

#include <algorithm>

namespace flurry::agent {

Arrivals::Arrivals(const std::vector<transfer::PathEntry>& closure, std::span<const uint32_t> missing)
    : closure_(closure), states_(closure.size(), State::kThere), to_come_(missing.size()) {
  for (const uint32_t index : missing) states_[index] = State::kToCome;
}

void Arrivals::fetch(std::span<const uint32_t> indices) {
  for (const uint32_t index : indices) states_[index] = State::kFetching;
  to_come_ -= indices.size();
  fetching_ += indices.size();
}

void Arrivals::end_fetch(std::span<const uint32_t> failed) {
  for (const uint32_t index : failed) states_[index] = State::kToCome;
  to_come_ += failed.size();
  fetching_ = 0;
  for (size_t i = 0; i < states_.size(); ++i) {
    if (states_[i] != State::kFetching) continue;
    states_[i] = State::kThere;
    ++fetched_paths_;
    fetched_bytes_ += closure_[i].nar_size;
  }
}

Result<void> Arrivals::begin(const IncomingPath& incoming) {
  if (states_[incoming.index] != State::kToCome)
    return Error{ErrorKind::kInvalidInput, "the controller sent a path that was not to be sent"};
  // A daemon would notice only at the end of the path.
  for (const uint32_t reference : incoming.references)
    if (reference != incoming.index && states_[reference] != State::kThere)
      return Error{ErrorKind::kInvalidInput,
                   "the controller sent " + incoming.info.path.str() + " before a path that it refers to"};
  states_[incoming.index] = State::kThere;
  --to_come_;
  begun_.push_back(incoming.index);
  received_bytes_ += closure_[incoming.index].nar_size;
  return {};
}

int64_t Arrivals::failed_after(size_t stored) const {
  if (stored < begun_.size()) return begun_[stored];
  const auto next = std::find(states_.begin(), states_.end(), State::kToCome);
  return next == states_.end() ? -1 : next - states_.begin();
}

}  // namespace flurry::agent
