// A journal file whose two slots hold anything, some of it sealed as the agent would: what is found is the
// newest whole slot, and a write goes on from it without touching it.
#include <fcntl.h>
#include <unistd.h>

#include "agent/convert.h"
#include "agent/file_io.h"
#include "agent/journal.h"
#include "tests/fuzz/folder.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/records.h"

namespace flurry::fuzz {
namespace {

using agent::FileJournal;

struct Slot {
  bool is_sealed = false;
  uint64_t sequence = 0;
  std::string payload;  // of a raw slot: all of its bytes
};

void put_u64(std::string& out, uint64_t value) {
  for (int i = 0; i < 8; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

std::string seal(const Slot& slot) {
  std::string numbers;
  for (const uint64_t number : {uint64_t{1}, slot.sequence, uint64_t{slot.payload.size()}})
    put_u64(numbers, number);
  const std::string hex = agent::sha256_hex(numbers + slot.payload);
  std::string digest;
  for (size_t i = 0; i < hex.size(); i += 2)
    digest += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return "flurryJ1" + numbers + digest + slot.payload;
}

Slot take_slot(Input& input, bool is_last) {
  Slot slot;
  slot.is_sealed = input.byte() % 4 != 0;
  slot.sequence = input.number(8);
  const size_t size = input.number(2);
  slot.payload = is_last ? input.rest() : input.take(size);
  return slot;
}

void put_file(const std::string& path, const Slot (&slots)[2], size_t size) {
  const sys::Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  FLURRY_CHECK(fd.is_open());
  for (size_t i : {0, 1}) {
    const std::string bytes = slots[i].is_sealed ? seal(slots[i]) : slots[i].payload;
    const auto at = static_cast<off_t>(i * FileJournal::kSlotSize);
    FLURRY_CHECK(::pwrite(fd.get(), bytes.data(), bytes.size(), at) == static_cast<ssize_t>(bytes.size()));
  }
  FLURRY_CHECK(::ftruncate(fd.get(), static_cast<off_t>(size)) == 0);
}

// What a reader must make of two sealed slots of a whole file.
void check_newest(const Slot (&slots)[2], const DeploymentId& id,
                  const Result<std::optional<agent::JournalEntry>>& found) {
  const Slot& newest = slots[slots[1].sequence > slots[0].sequence ? 1 : 0];
  const auto record = agent::decode_record(newest.payload);
  FLURRY_CHECK(found.has_value() == (record && record->spec.deployment == id));
  if (!found) return;
  FLURRY_CHECK((*found)->sequence == newest.sequence);
  FLURRY_CHECK(is_same((*found)->record, *record));
}

}  // namespace

void run_one(std::string_view bytes) {
  static const Folder folder;
  static FileJournal journal(folder.path());
  static const DeploymentId id = *DeploymentId::parse("01M82JFXB8MFYD09NMHCZYCXCC");
  Input input(bytes);
  const bool is_whole = input.byte() % 4 != 0;
  const size_t size = is_whole ? 2 * FileJournal::kSlotSize : input.number(3) % (2 * FileJournal::kSlotSize);
  Slot slots[2];
  slots[0] = take_slot(input, false);
  slots[1] = take_slot(input, true);
  put_file(journal.path(id), slots, size);

  const auto found = journal.find(id);
  if (is_whole && slots[0].is_sealed && slots[1].is_sealed) check_newest(slots, id, found);
  if (!found) return check_told(found.error(), bytes.size());
  FLURRY_CHECK(found->has_value());
  const agent::JournalEntry before = **found;

  ActivationRecord next = before.record;
  next.holder_stopped = !next.holder_stopped;
  const auto written = journal.write(next);
  const auto after = journal.find(id);
  FLURRY_CHECK(after && *after);
  if (!written) {
    FLURRY_CHECK((*after)->sequence == before.sequence && is_same((*after)->record, before.record));
    return check_told(written.error(), bytes.size());
  }
  FLURRY_CHECK(before.sequence < UINT64_MAX && (*after)->sequence == before.sequence + 1);
  FLURRY_CHECK(is_same((*after)->record, cleaned(next)));
}

}  // namespace flurry::fuzz
