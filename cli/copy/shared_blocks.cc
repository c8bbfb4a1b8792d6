#include "cli/copy/shared_blocks.h"

#include <chrono>

namespace flurry::copy {
namespace {

// How long a host waits for what another one is about to make: that one's link may be slow.
constexpr std::chrono::milliseconds kMoment{50};

std::string key_of(const std::string& path, uint64_t index) { return path + "#" + std::to_string(index); }

}  // namespace

SharedBlocks::Making::Making(SharedBlocks& blocks, std::string path)
    : blocks_(blocks), path_(std::move(path)) {
  const std::lock_guard lock(blocks_.mutex_);
  ++blocks_.makers_[path_];
}

SharedBlocks::Making::~Making() {
  const std::lock_guard lock(blocks_.mutex_);
  if (--blocks_.makers_[path_] == 0) blocks_.makers_.erase(path_);
  blocks_.changed_.notify_all();
}

SharedBlocks::Block SharedBlocks::find(const std::string& path, uint64_t index) {
  const std::string key = key_of(path, index);
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, kMoment, [&] { return ready(key) != nullptr || !makers_.contains(path); });
  Entry* entry = ready(key);
  return entry == nullptr ? nullptr : entry->block;
}

SharedBlocks::Block SharedBlocks::get(const std::string& path, uint64_t index,
                                      const std::function<transfer::PackedBlock()>& make) {
  const std::string key = key_of(path, index);
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !entries_.contains(key) || ready(key) != nullptr; });
  if (Entry* entry = ready(key)) return entry->block;
  Entry& fresh = entries_[key];
  lock.unlock();
  auto block = std::make_shared<const transfer::PackedBlock>(make());
  lock.lock();
  fresh.block = block;
  settle(key, fresh, block->payload.size());
  return block;
}

Result<SharedBlocks::Delta> SharedBlocks::delta(const std::string& name,
                                                const std::function<Result<std::string>()>& make) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return !entries_.contains(name) || ready(name) != nullptr; });
  if (Entry* entry = ready(name)) return entry->delta;
  Entry& fresh = entries_[name];
  lock.unlock();
  auto made = make();
  lock.lock();
  if (!made) {
    drop(name);
    return made.error();
  }
  if (!made->empty()) fresh.delta = std::make_shared<const std::string>(*std::move(made));
  const Delta delta = fresh.delta;
  settle(name, fresh, delta == nullptr ? 0 : delta->size());
  return delta;
}

// Null where it is not there, or not yet.
SharedBlocks::Entry* SharedBlocks::ready(const std::string& key) {
  const auto it = entries_.find(key);
  if (it == entries_.end() || it->second.is_in_work) return nullptr;
  ages_.splice(ages_.begin(), ages_, it->second.age);
  return &it->second;
}

void SharedBlocks::settle(const std::string& key, Entry& entry, size_t bytes) {
  entry.is_in_work = false;
  ++made_;
  ages_.push_front(key);
  entry.age = ages_.begin();
  bytes_ += bytes;
  while (bytes_ > bytes_max_ && ages_.size() > 1) drop(std::string(ages_.back()));
  changed_.notify_all();
}

void SharedBlocks::drop(const std::string& key) {
  const auto it = entries_.find(key);
  const Entry& entry = it->second;
  if (!entry.is_in_work) {
    bytes_ -= entry.block ? entry.block->payload.size() : entry.delta ? entry.delta->size() : 0;
    ages_.erase(entry.age);
  }
  entries_.erase(it);
  changed_.notify_all();
}

}  // namespace flurry::copy
