#include "infer/zip.h"

#include <zlib.h>

#include <algorithm>
#include <cstring>

#include "core/crc32.h"
#include "infer/image.h"

namespace fmtc::infer {
namespace {

constexpr uint32_t kEnd = 0x06054b50, kCentral = 0x02014b50, kLocal = 0x04034b50;
constexpr uint64_t kEndBytes = 22, kCentralBytes = 46, kLocalBytes = 30, kMostComment = 0xFFFF;
constexpr uint16_t kStored = 0, kDeflated = 8, kEncrypted = 1, kWideSizes = 1;
constexpr uint64_t kMostExpansion = 1032;  // of deflate
constexpr uint32_t kWide = 0xFFFFFFFF;     // the size stands in an extra field

template <typename T>
T number(std::span<const uint8_t> bytes, size_t at) {
  T value;
  if (at + sizeof value > bytes.size()) throw Error("it is no ZIP archive, or it is damaged");
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

std::vector<uint8_t> inflated(std::span<const uint8_t> packed, uint64_t size) {
  // Before anything is allocated for it.
  if (size / kMostExpansion > packed.size()) throw Error("its packed bytes are damaged");
  std::vector<uint8_t> bytes(size);
  z_stream stream = {};
  if (inflateInit2(&stream, -MAX_WBITS) != Z_OK) throw Error("no memory to unpack it");
  // Of less than 4 GiB, which a field of zlib's holds.
  stream.next_in = const_cast<uint8_t*>(packed.data());
  stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = bytes.data();
  stream.avail_out = static_cast<uInt>(size);
  const int status = inflate(&stream, Z_FINISH);
  const uint64_t made = stream.total_out;
  inflateEnd(&stream);
  if (status != Z_STREAM_END || made != size) throw Error("its packed bytes are damaged");
  return bytes;
}

}  // namespace

ZipArchive::ZipArchive(std::span<const uint8_t> bytes) : bytes_(bytes) {
  if (bytes.size() < kEndBytes) throw Error("File is not a zip file");
  uint64_t end = bytes.size() - kEndBytes;
  const uint64_t least = end - std::min(end, kMostComment);
  while (number<uint32_t>(bytes, end) != kEnd) {
    if (end == least) throw Error("File is not a zip file");
    --end;
  }
  const auto count = number<uint16_t>(bytes, end + 10);
  uint64_t at = number<uint32_t>(bytes, end + 16);
  for (int i = 0; i < count; ++i) members_.push_back(member_at(at));
}

std::span<const uint8_t> ZipArchive::part(uint64_t begin, uint64_t size) const {
  if (begin > bytes_.size() || size > bytes_.size() - begin) {
    throw Error("it is no ZIP archive, or it is damaged");
  }
  return bytes_.subspan(begin, size);
}

ZipArchive::Member ZipArchive::member_at(uint64_t& at) const {
  const auto header = part(at, kCentralBytes);
  if (number<uint32_t>(header, 0) != kCentral) throw Error("its directory is damaged");
  if (number<uint16_t>(header, 8) & kEncrypted) throw Error("it is encrypted");
  const uint64_t name_bytes = number<uint16_t>(header, 28);
  const uint64_t extra_bytes = number<uint16_t>(header, 30);
  const uint64_t comment_bytes = number<uint16_t>(header, 32);
  const auto name = part(at + kCentralBytes, name_bytes);
  const auto extra = part(at + kCentralBytes + name_bytes, extra_bytes);
  Member member;
  member.name.assign(name.begin(), name.end());
  member.method = number<uint16_t>(header, 10);
  member.crc = number<uint32_t>(header, 16);
  member.packed = number<uint32_t>(header, 20);
  member.unpacked = number<uint32_t>(header, 24);
  member.offset = number<uint32_t>(header, 42);
  for (uint64_t field = 0; field + 4 <= extra.size();) {
    const auto kind = number<uint16_t>(extra, field), size = number<uint16_t>(extra, field + 2);
    uint64_t value = field + 4;
    if (kind == kWideSizes) {  // those alone that do not fit, in this order
      for (uint64_t* wide : {&member.unpacked, &member.packed, &member.offset}) {
        if (*wide != kWide) continue;
        *wide = number<uint64_t>(extra, value);
        value += 8;
      }
    }
    field += 4 + uint64_t{size};
  }
  at += kCentralBytes + name_bytes + extra_bytes + comment_bytes;
  return member;
}

std::vector<std::string> ZipArchive::names() const {
  std::vector<std::string> names;
  for (const Member& member : members_) names.push_back(member.name);
  return names;
}

bool ZipArchive::has(const std::string& name) const {
  return std::ranges::any_of(members_, [&](const Member& of) { return of.name == name; });
}

uint64_t ZipArchive::unpacked_bytes() const {
  uint64_t sum = 0;
  for (const Member& member : members_) {
    sum = member.unpacked > UINT64_MAX - sum ? UINT64_MAX : sum + member.unpacked;
  }
  return sum;
}

std::vector<uint8_t> ZipArchive::read(const std::string& name) const {
  const auto found = std::ranges::find(members_, name, &Member::name);
  if (found == members_.end()) throw Error("it has no file " + name);
  const auto local = part(found->offset, kLocalBytes);
  if (number<uint32_t>(local, 0) != kLocal) throw Error(name + " is damaged");
  if (found->packed >= kWide || found->unpacked >= kWide) throw Error(name + " is too large");
  const uint64_t names = uint64_t{number<uint16_t>(local, 26)} + number<uint16_t>(local, 28);
  const auto packed = part(found->offset + kLocalBytes + names, found->packed);
  std::vector<uint8_t> bytes;
  if (found->method == kStored) {
    if (found->packed != found->unpacked) throw Error(name + " is damaged");
    bytes.assign(packed.begin(), packed.end());
  } else if (found->method == kDeflated) {
    bytes = inflated(packed, found->unpacked);
  } else {
    throw Error(name + " is packed in a way that is not known here");
  }
  if (crc32(bytes) != found->crc) throw Error("Bad CRC-32 for file '" + name + "'");
  return bytes;
}

}  // namespace fmtc::infer
