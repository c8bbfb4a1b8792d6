#include "agent/journal.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "agent/convert.h"
#include "agent/file_io.h"
#include "agent/log.h"

namespace flurry::agent {
namespace {

using sys::errno_error;
using sys::Fd;

constexpr std::string_view kMagic = "flurryJ1";
constexpr uint64_t kFormat = 1;
constexpr size_t kPayloadMax = FileJournal::kSlotSize - FileJournal::kHeaderSize;
// What a record may still grow by after its first write: reason, output, warnings.
constexpr size_t kGrowth = 64 << 10;

// The slot's layout: magic, format, sequence, length (little endian, 8 bytes each), then the SHA-256 of
// format, sequence, length and payload, so that a torn header is noticed as a torn payload is. That much
// stays the same in every format.
struct Slot {
  uint64_t format = kFormat;
  uint64_t sequence = 0;
  std::string payload;
};

void put_u64(std::string& out, uint64_t value) {
  for (int i = 0; i < 8; ++i) out += static_cast<char>(value >> (8 * i) & 0xff);
}

uint64_t get_u64(std::string_view bytes) {
  uint64_t value = 0;
  for (int i = 7; i >= 0; --i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

std::string digest_of(std::string_view numbers, std::string_view payload) {
  const std::string hex = sha256_hex(std::string(numbers) + std::string(payload));
  std::string raw;
  for (size_t i = 0; i < hex.size(); i += 2)
    raw += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return raw;
}

std::string encode_slot(uint64_t sequence, const std::string& payload) {
  std::string numbers;
  put_u64(numbers, kFormat);
  put_u64(numbers, sequence);
  put_u64(numbers, payload.size());
  return std::string(kMagic) + numbers + digest_of(numbers, payload) + payload;
}

bool read_exactly(int fd, char* to, size_t size, size_t offset) {
  while (size > 0) {
    const ssize_t n = ::pread(fd, to, size, static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    to += n;
    size -= static_cast<size_t>(n);
    offset += static_cast<size_t>(n);
  }
  return true;
}

std::optional<Slot> read_slot(int fd, size_t index) {
  const size_t offset = index * FileJournal::kSlotSize;
  std::array<char, FileJournal::kHeaderSize> buffer;
  if (!read_exactly(fd, buffer.data(), buffer.size(), offset)) return std::nullopt;
  const std::string_view header(buffer.data(), buffer.size());
  if (header.substr(0, 8) != kMagic) return std::nullopt;
  const uint64_t length = get_u64(header.substr(24));
  if (length > kPayloadMax) return std::nullopt;
  Slot slot{get_u64(header.substr(8)), get_u64(header.substr(16)), std::string(length, '\0')};
  if (!read_exactly(fd, slot.payload.data(), length, offset + header.size())) return std::nullopt;
  if (digest_of(header.substr(8, 24), slot.payload) != header.substr(32)) return std::nullopt;
  return slot;
}

struct Newest {
  Slot slot;
  size_t index;
};

std::optional<Newest> read_newest(int fd) {
  std::optional<Newest> newest;
  for (size_t index : {0, 1}) {
    auto slot = read_slot(fd, index);
    if (slot && (!newest || slot->sequence > newest->slot.sequence)) newest = Newest{std::move(*slot), index};
  }
  return newest;
}

Result<void> write_slot(int fd, size_t index, const std::string& bytes) {
  for (size_t done = 0; done < bytes.size();) {
    const ssize_t n = ::pwrite(fd, bytes.data() + done, bytes.size() - done,
                               static_cast<off_t>(index * FileJournal::kSlotSize + done));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("write", errno);
    done += static_cast<size_t>(n);
  }
  if (::fdatasync(fd) != 0) return errno_error("fdatasync", errno);
  return {};
}

Fd open_journal(const std::string& file, int mode) {
  return Fd(::open(file.c_str(), mode | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
}

Error damaged_error(const std::string& file) {
  return {ErrorKind::kInvalidInput,
          "journal " + file + ": neither of its two slots is whole; what it said is lost"};
}

Error foreign_error(const std::string& file) {
  return {ErrorKind::kUnsupported,
          "journal " + file + ": was written by another version of flurry; deploy with that one"};
}

// Bytes that were read and mean nothing. What can't be opened or read at all is no such thing.
bool is_damaged(const std::string& file) {
  const Fd fd = open_journal(file, O_RDONLY);
  struct stat info {};
  char byte;
  if (!fd.is_open() || ::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return false;
  return ::pread(fd.get(), &byte, 1, 0) >= 0 && !read_newest(fd.get());
}

}  // namespace

Result<void> FileJournal::write(const ActivationRecord& record) {
  const std::string payload = encode_record(record);
  if (payload.size() > kPayloadMax)
    return Error{ErrorKind::kInvalidInput, "the deployment's record is too large for the journal"};
  const std::string file = path(record.spec.deployment);
  const Fd fd = open_journal(file, O_RDWR);
  if (!fd.is_open() && errno == ENOENT) return create(file, payload);
  if (!fd.is_open()) return errno_error("journal " + file, errno);
  const auto newest = read_newest(fd.get());
  if (!newest) return damaged_error(file);
  if (newest->slot.format != kFormat) return foreign_error(file);
  // The next number would be 0, and what is written now would seem older than what it follows.
  if (newest->slot.sequence == UINT64_MAX)
    return Error{ErrorKind::kInvalidInput, "journal " + file + ": no number is left for another write"};
  const auto written =
      write_slot(fd.get(), 1 - newest->index, encode_slot(newest->slot.sequence + 1, payload));
  if (!written) return written.error().with_context("journal " + file);
  return {};
}

// The file gets its name only when it holds its first record: a journal that exists can be read.
Result<void> FileJournal::create(const std::string& file, const std::string& payload) {
  if (payload.size() + kGrowth > kPayloadMax)
    return Error{ErrorKind::kInvalidInput, "the deployment's record is too large for the journal"};
  RETURN_IF_ERROR(make_private_dir(directory_));
  forget_old();
  const std::string temp = file + ".tmp";
  ::unlink(temp.c_str());
  const Fd fd(::open(temp.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd.is_open()) return errno_error("journal " + temp, errno);
  const auto fill = [&]() -> Result<void> {
    if (const int error = ::posix_fallocate(fd.get(), 0, 2 * kSlotSize); error != 0)
      return errno_error("reserve room", error);
    RETURN_IF_ERROR(write_slot(fd.get(), 0, encode_slot(1, payload)));
    if (::fsync(fd.get()) != 0) return errno_error("fsync", errno);
    if (::rename(temp.c_str(), file.c_str()) != 0) return errno_error("rename", errno);
    return sync_dir(directory_);
  };
  const auto filled = fill();
  if (filled) return {};
  ::unlink(temp.c_str());
  return filled.error().with_context("journal " + file);
}

Result<std::optional<JournalEntry>> FileJournal::find(const DeploymentId& id) {
  const std::string file = path(id);
  const Fd fd = open_journal(file, O_RDONLY);
  if (!fd.is_open() && errno == ENOENT) return std::optional<JournalEntry>();
  if (!fd.is_open()) return errno_error("journal " + file, errno);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0 || !S_ISREG(info.st_mode)) return damaged_error(file);
  const auto newest = read_newest(fd.get());
  if (!newest) return damaged_error(file);
  if (newest->slot.format != kFormat) return foreign_error(file);
  auto record = decode_record(newest->slot.payload);
  if (!record) return record.error().with_context("journal " + file);
  if (record->spec.deployment != id)
    return Error{ErrorKind::kInvalidInput, "journal " + file + ": tells of another deployment"};
  return std::optional(JournalEntry{newest->slot.sequence, *std::move(record)});
}

Result<std::optional<JournalEntry>> FileJournal::latest_unfinished() {
  ASSIGN_OR_RETURN(const auto ids, list());
  for (const auto& id : ids) {
    if (is_damaged(path(id))) continue;
    ASSIGN_OR_RETURN(auto entry, find(id));
    if (entry && entry->record.phase != Phase::kEnded) return entry;
  }
  return std::optional<JournalEntry>();
}

Result<std::vector<ActivationRecord>> FileJournal::recent(size_t count) {
  ASSIGN_OR_RETURN(const auto ids, list());
  std::vector<ActivationRecord> out;
  for (const auto& id : ids) {
    if (out.size() == count) break;
    auto entry = find(id);
    if (!entry)
      log_warning(entry.error().message);
    else if (*entry)
      out.push_back(std::move((*entry)->record));
  }
  return out;
}

Result<std::vector<DeploymentId>> FileJournal::damaged() {
  ASSIGN_OR_RETURN(auto ids, list());
  std::erase_if(ids, [this](const DeploymentId& id) { return !is_damaged(path(id)); });
  return ids;
}

Result<void> FileJournal::set_aside(const DeploymentId& id) {
  const std::string file = path(id);
  const std::string aside = directory_ + "/" + id.str() + ".damaged";
  if (::rename(file.c_str(), aside.c_str()) != 0) return errno_error("rename " + file, errno);
  return sync_dir(directory_);
}

Result<std::vector<DeploymentId>> FileJournal::list(std::string_view extension) const {
  std::vector<DeploymentId> ids;
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory_, error), end; !error && it != end;
       it.increment(error)) {
    if (it->path().extension() != extension) continue;
    if (auto id = DeploymentId::parse(it->path().stem().string())) ids.push_back(*std::move(id));
  }
  if (error && error != std::errc::no_such_file_or_directory)
    return sys::errno_error("read " + directory_, error.value());
  std::sort(ids.rbegin(), ids.rend());
  return ids;
}

// Only what has ended is ever forgotten; a file that can't be read is kept for a person to look at.
void FileJournal::forget_old() {
  const auto ids = list();
  if (!ids) return;
  for (size_t i = kKeepFinished - 1; i < ids->size(); ++i) {
    const auto entry = find((*ids)[i]);
    if (entry && *entry && (*entry)->record.phase == Phase::kEnded) ::unlink(path((*ids)[i]).c_str());
  }
}

}  // namespace flurry::agent
