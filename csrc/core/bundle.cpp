#include "core/bundle.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>

#include "core/bytes.h"
#include "core/crc32.h"
#include "core/crc32c.h"
#include "core/stream_fields.h"

namespace fmtc {
namespace {

constexpr std::array<uint8_t, 2> kBundleMagic = {0x66, 0x62};  // "fb"

// ---------------------------------------------------------------------------------------------
// Names

// How many bytes the UTF-8 character has that begins with this byte; 0 where none does.
size_t character_bytes(uint8_t first) noexcept {
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return 0;  // continuations, overlong forms, beyond U+10FFFF
  if (first < 0xE0) return 2;
  return first < 0xF0 ? 3 : 4;
}

// What the second byte may be: no overlong forms, surrogates or numbers beyond U+10FFFF.
bool second_valid(uint8_t first, uint8_t second) noexcept {
  switch (first) {
    case 0xC2:  // U+0080 to U+009F are control characters
    case 0xE0:
      return second >= 0xA0 && second <= 0xBF;
    case 0xED:
      return second >= 0x80 && second <= 0x9F;
    case 0xF0:
      return second >= 0x90 && second <= 0xBF;
    case 0xF4:
      return second >= 0x80 && second <= 0x8F;
    default:
      return second >= 0x80 && second <= 0xBF;
  }
}

// The size of the first character of a name that is not empty; 0 where it may not be in one.
size_t take_character(std::string_view text) noexcept {
  const auto at = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
  const size_t size = character_bytes(at(0));
  if (size == 0 || size > text.size()) return 0;
  if (size == 1) return at(0) >= 0x20 && at(0) != 0x7F ? 1 : 0;
  if (!second_valid(at(0), at(1))) return 0;
  for (size_t i = 2; i < size; ++i) {
    if (at(i) >> 6 != 2) return 0;
  }
  return size;
}

bool unique(std::span<const std::string_view> names) noexcept {
  for (size_t i = 1; i < names.size(); ++i) {
    const auto before = names.first(i);
    if (std::find(before.begin(), before.end(), names[i]) != before.end()) return false;
  }
  return true;
}

// ---------------------------------------------------------------------------------------------
// Head

bool limits_kept(const BundleHeader& header) noexcept {
  return header.tensors >= 1 && header.tensors <= kMaxBundleTensors &&
         header.streams() <= kMaxBundleStreams;
}

// Takes a name; `at` becomes where the next one begins.
Status take_name(std::span<const uint8_t> bytes, size_t& at, std::string_view& name) noexcept {
  if (at == bytes.size()) return Status::kTruncated;
  const size_t size = bytes[at];
  if (bytes.size() - at - 1 < size) return Status::kTruncated;
  name = {reinterpret_cast<const char*>(bytes.data()) + at + 1, size};
  at += 1 + size;
  return name_valid(name) ? Status::kOk : Status::kBadName;
}

Status read_names(std::span<const uint8_t> bytes, BundleHeader& header) noexcept {
  std::array<std::string_view, kMaxBundleTensors> names;
  header.directory = header.names;
  for (uint32_t t = 0; t < header.tensors; ++t) {
    const Status status = take_name(bytes, header.directory, names[t]);
    if (status != Status::kOk) return status;
  }
  return unique(std::span(names).first(header.tensors)) ? Status::kOk : Status::kBadName;
}

BundleStream load_stream(const BundleHeader& header, std::span<const uint8_t> bytes,
                         uint64_t index) noexcept {
  const uint8_t* entry =
      bytes.data() + header.directory + static_cast<size_t>(index) * kBundleEntryBytes;
  return {0, load_le<uint32_t>(entry), load_le<uint32_t>(entry + 4)};
}

size_t store_head(std::span<const std::string_view> names, uint32_t images, uint8_t* to) noexcept {
  std::copy(kBundleMagic.begin(), kBundleMagic.end(), to);
  to[2] = kBundleVersion;
  size_t size = 3;
  size += store_varint(to + size, images);
  size += store_varint(to + size, static_cast<uint32_t>(names.size()));
  for (const std::string_view name : names) {
    to[size++] = static_cast<uint8_t>(name.size());
    std::copy(name.begin(), name.end(), to + size);
    size += name.size();
  }
  return size;
}

}  // namespace

bool is_bundle(std::span<const uint8_t> bytes) noexcept {
  return bytes.size() >= 2 && std::equal(kBundleMagic.begin(), kBundleMagic.end(), bytes.begin());
}

bool name_valid(std::string_view name) noexcept {
  if (name.size() > kMaxNameBytes) return false;
  while (!name.empty()) {
    const size_t size = take_character(name);
    if (size == 0) return false;
    name.remove_prefix(size);
  }
  return true;
}

Status read_bundle_fields(std::span<const uint8_t> bytes, BundleHeader& header) noexcept {
  FieldReader reader(bytes);
  for (const uint8_t magic : kBundleMagic) {
    if (reader.byte() != magic) reader.fail(Status::kBadMagic);
  }
  if (reader.byte() != kBundleVersion) reader.fail(Status::kBadVersion);
  header.images = reader.varint();
  header.tensors = reader.varint();
  header.names = reader.position();
  if (reader.status() != Status::kOk) return reader.status();
  return limits_kept(header) ? read_names(bytes, header) : Status::kBadHeader;
}

Status read_bundle_head(std::span<const uint8_t> bytes, BundleHeader& header,
                        uint64_t& size) noexcept {
  if (const Status status = read_bundle_fields(bytes, header); status != Status::kOk) return status;
  const size_t head = header.head_bytes();
  if (bytes.size() < head) return Status::kTruncated;
  const size_t checked = head - kChecksumBytes;
  if (load_le<uint32_t>(bytes.data() + checked) != crc32c(bytes.first(checked))) {
    return Status::kBadChecksum;
  }
  size = head;
  for (uint64_t i = 0; i < header.streams(); ++i) size += load_stream(header, bytes, i).size;
  return Status::kOk;
}

Status open_bundle(std::span<const uint8_t> bytes, BundleHeader& header) noexcept {
  uint64_t size = 0;
  if (const Status status = read_bundle_head(bytes, header, size); status != Status::kOk) {
    return status;
  }
  if (bytes.size() < size) return Status::kTruncated;
  return bytes.size() == size ? Status::kOk : Status::kTrailingBytes;
}

std::string_view bundle_name(const BundleHeader& header, std::span<const uint8_t> bytes,
                             uint32_t tensor) noexcept {
  size_t at = header.names;
  for (uint32_t t = 0; t < tensor; ++t) at += 1 + size_t{bytes[at]};
  return {reinterpret_cast<const char*>(bytes.data()) + at + 1, bytes[at]};
}

BundleStream find_stream(const BundleHeader& header, std::span<const uint8_t> bytes, uint32_t image,
                         uint32_t tensor) noexcept {
  const uint64_t index = uint64_t{image} * header.tensors + tensor;
  BundleStream stream = load_stream(header, bytes, index);
  stream.begin = header.head_bytes();
  for (uint64_t i = 0; i < index; ++i) stream.begin += load_stream(header, bytes, i).size;
  return stream;
}

void list_streams(const BundleHeader& header, std::span<const uint8_t> bytes,
                  std::span<BundleStream> streams) noexcept {
  uint64_t begin = header.head_bytes();
  for (size_t i = 0; i < streams.size(); ++i) {
    streams[i] = load_stream(header, bytes, i);
    streams[i].begin = begin;
    begin += streams[i].size;
  }
}

Status check_stream(std::span<const uint8_t> stream, const BundleStream& expected) noexcept {
  const bool same = stream.size() == expected.size && crc32(stream) == expected.checksum;
  return same ? Status::kOk : Status::kWrongStream;
}

Status bundle_size(std::span<const std::string_view> names,
                   std::span<const std::span<const uint8_t>> streams, uint64_t& size) noexcept {
  if (names.empty() || streams.size() % names.size() != 0) return Status::kBadArgument;
  if (names.size() > kMaxBundleTensors || streams.size() > kMaxBundleStreams) {
    return Status::kTooLarge;
  }
  if (!std::all_of(names.begin(), names.end(), name_valid) || !unique(names)) {
    return Status::kBadName;
  }
  std::array<uint8_t, kMaxVarintBytes> number;
  size = kBundleMagic.size() + 1 + kChecksumBytes;
  size += store_varint(number.data(), static_cast<uint32_t>(streams.size() / names.size()));
  size += store_varint(number.data(), static_cast<uint32_t>(names.size()));
  for (const std::string_view name : names) size += 1 + name.size();
  for (const auto stream : streams) {
    if (stream.size() > std::numeric_limits<uint32_t>::max()) return Status::kTooLarge;
    size += kBundleEntryBytes + stream.size();
  }
  return Status::kOk;
}

Status write_bundle(std::span<const std::string_view> names,
                    std::span<const std::span<const uint8_t>> streams, std::span<uint8_t> out,
                    size_t& used) noexcept {
  uint64_t size = 0;
  const Status status = bundle_size(names, streams, size);
  if (status != Status::kOk) return status;
  if (out.size() < size) return Status::kBufferTooSmall;
  used = store_head(names, static_cast<uint32_t>(streams.size() / names.size()), out.data());
  for (const auto stream : streams) {
    store_le(out.data() + used, static_cast<uint32_t>(stream.size()));
    store_le(out.data() + used + 4, crc32(stream));
    used += kBundleEntryBytes;
  }
  store_le(out.data() + used, crc32c(out.first(used)));
  used += kChecksumBytes;
  for (const auto stream : streams) {
    std::copy(stream.begin(), stream.end(), out.begin() + static_cast<ptrdiff_t>(used));
    used += stream.size();
  }
  return Status::kOk;
}

const char* bundle_message(Status status) noexcept {
  switch (status) {
    case Status::kTruncated:
      return "the bundle is cut off: the data end before it does";
    case Status::kBadMagic:
      return "this is no bundle: it does not begin with \"fb\"";
    case Status::kBadVersion:
      return "the bundle has a version that this library does not know";
    case Status::kBadNumber:
      return "a number in the bundle's head has more bytes than it needs, or is too large";
    case Status::kBadHeader:
      return "the bundle has no tensors, more than 1024, or more than 2^24 streams";
    case Status::kBadChecksum:
      return "the bundle's head is damaged: its checksum does not match";
    case Status::kTrailingBytes:
      return "there are bytes after the end of the bundle";
    case Status::kBadArgument:
      return "the tensors of a bundle have different numbers of images, or there are none";
    case Status::kTooLarge:
      return "a bundle holds at most 1024 tensors and 2^24 streams of less than 4 GiB each";
    default:
      return message(status);
  }
}

}  // namespace fmtc
