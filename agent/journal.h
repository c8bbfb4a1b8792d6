#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/activation_record.h"
#include "core/result.h"

namespace flurry::agent {

struct JournalEntry {
  uint64_t sequence;  // one more with every write of this deployment
  ActivationRecord record;
};

// What a host remembers of its deployments. Of two processes only the holder of the executor lock
// writes; anyone may read at any time. One thread at a time per object.
class Journal {
 public:
  virtual ~Journal() = default;
  // Durable when it returns. A failure leaves the state before it, or the new one.
  virtual Result<void> write(const ActivationRecord& record) = 0;
  // Nothing: no such deployment. An error: there is one, and it can't be understood.
  virtual Result<std::optional<JournalEntry>> find(const DeploymentId& id) = 0;
  // Damaged ones are left out.
  virtual Result<std::optional<JournalEntry>> latest_unfinished() = 0;
  // Newest first. Unreadable ones are left out.
  virtual Result<std::vector<ActivationRecord>> recent(size_t count) = 0;
  // Deployments whose journal nobody can read any more: not another version's, but broken bytes.
  virtual Result<std::vector<DeploymentId>> damaged() = 0;
  // Gives a damaged one a name under which it holds nobody up, and is kept for a person.
  virtual Result<void> set_aside(const DeploymentId& id) = 0;
  // Those that were set aside.
  virtual Result<std::vector<DeploymentId>> lost() = 0;
};

// One file per deployment with two preallocated slots, written in turn, so that a torn write leaves the
// state before it and a full disk can't refuse one.
class FileJournal : public Journal {
 public:
  static constexpr size_t kSlotSize = 256 << 10;
  static constexpr size_t kHeaderSize = 64;
  static constexpr size_t kKeepFinished = 100;

  // The directory is made by the first write.
  explicit FileJournal(std::string directory) : directory_(std::move(directory)) {}

  Result<void> write(const ActivationRecord& record) override;
  Result<std::optional<JournalEntry>> find(const DeploymentId& id) override;
  Result<std::optional<JournalEntry>> latest_unfinished() override;
  Result<std::vector<ActivationRecord>> recent(size_t count) override;
  Result<std::vector<DeploymentId>> damaged() override;
  Result<void> set_aside(const DeploymentId& id) override;
  Result<std::vector<DeploymentId>> lost() override { return list(".damaged"); }

  std::string path(const DeploymentId& id) const { return directory_ + "/" + id.str() + ".journal"; }

 private:
  Result<void> create(const std::string& file, const std::string& payload);
  Result<std::vector<DeploymentId>> list(std::string_view extension = ".journal") const;  // newest first
  void forget_old();

  const std::string directory_;
};

}  // namespace flurry::agent
