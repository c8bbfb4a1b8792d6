#pragma once

#include <cstddef>
#include <cstdint>

// A store path as what differs from another one, its base, that both sides have; the receiver makes the NAR
// from it. What counts are the cases of an upgrade: most files are equal, or equal but for the hashes of
// store paths in them, and those that really changed compress well against what they were.
//
//   delta   = version, outline, op…             varint: little endian, seven bits a byte
//   version = byte 1
//   outline = varint size, and unless that is 0: varint compressed size, zstd frame of encode_outline(new)
//             (names, modes, links and sizes), whose prefix is encode_outline(base) after the hashes in it
//             were replaced. Size 0: it is that prefix.
//   op      = byte kind, then for the next files in the order of the NAR:
//     kCopy, kRewrite: base file, varint count: so many files are as the base's files from that one on, with
//                      kRewrite after the hashes in them were replaced
//     kPatch:          base file; for each kSlice of the file: varint offset and size of a part of the base's
//                      file, varint compressed size, zstd frame with that part as its prefix
//     kLiteral:        varint count; one zstd frame with the contents of so many files, end to end
//   base file = varint, zigzag, the distance from the one behind the last that was named
//
// Which hashes are replaced by which follows from the references of both paths, which both sides know
// (hash_pairs.h): the delta doesn't repeat it.
//
// Bounds: see below and nar_outline.h. The proof that the result is right is the NAR's hash.
namespace flurry::delta {

constexpr uint8_t kVersion = 1;
constexpr uint8_t kCopy = 1;
constexpr uint8_t kRewrite = 2;
constexpr uint8_t kPatch = 3;
constexpr uint8_t kLiteral = 4;

// Of a file, compressed by itself, and of the base's file with it: what memory both sides need. More of both
// made no smaller deltas of real updates.
constexpr uint64_t kSlice = 4 << 20;
constexpr uint64_t kPrefixMax = 16 << 20;
constexpr int kWindowLogMax = 22;    // of a literal frame: 4 MiB
constexpr size_t kPiece = 64 << 10;  // bytes that are read or handed out at a time

constexpr uint64_t zigzag(int64_t value) {
  return (static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63);
}
constexpr int64_t unzigzag(uint64_t value) {
  return static_cast<int64_t>(value >> 1) ^ -static_cast<int64_t>(value & 1);
}

}  // namespace flurry::delta
