#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "core/bytes.h"
#include "core/crc32c.h"

namespace fmtc {

// The fields of a stream, read without the library, whether they are right or wrong.
struct RawFields {
  size_t bytes = 6;
  uint64_t values = 0;  // modulo 2^64

  explicit RawFields(std::span<const uint8_t> stream) {
    std::array<uint64_t, 4> numbers{};
    for (uint64_t& number : numbers) number = varint(stream);
    const auto [components, height, width, payload] = numbers;
    values = components * height * width;
    if (stream.size() < 4) return;
    if ((stream[2] & 8) != 0) bytes += 2;
    if ((stream[3] & 128) != 0 && bytes < stream.size()) {
      values += (height + 1) / 2 * ((width + 1) / 2);
      for (int classes = stream[bytes++]; classes > 1; --classes) varint(stream);
    }
  }

 private:
  uint64_t varint(std::span<const uint8_t> stream) {
    uint64_t value = 0;
    for (int shift = 0; bytes < stream.size(); shift += 7) {
      const uint8_t byte = stream[bytes++];
      if (shift < 64) value |= uint64_t{byte & 127u} << shift;
      if (byte < 128) return value;
    }
    ++bytes;  // it is cut
    return value;
  }
};

// Makes all checksums right, as far as fields and directory say where they are.
inline void repair_checksums(std::vector<uint8_t>& stream) {
  const RawFields fields(stream);
  if (fields.bytes + 4 > stream.size()) return;
  const uint64_t chunk = uint64_t{256} << (stream[3] & 15);
  const uint64_t chunks = fields.values / chunk + (fields.values % chunk != 0);
  if (chunks > stream.size() / 8) return;
  const size_t checked = fields.bytes + (chunks > 1 ? 8 * static_cast<size_t>(chunks) : 0);
  const size_t payloads = checked + 4;
  if (payloads > stream.size()) return;
  const std::span<const uint8_t> bytes(stream);
  size_t begin = 0;
  for (uint64_t i = 0; chunks > 1 && i < chunks; ++i) {
    uint8_t* entry = stream.data() + fields.bytes + 8 * i;
    const size_t end = load_le<uint32_t>(entry);
    if (begin <= end && end <= stream.size() - payloads) {
      store_le(entry + 4, crc32c(bytes.subspan(payloads + begin, end - begin)));
    }
    begin = end;
  }
  const uint32_t checksum = crc32c(bytes.first(checked));
  store_le(stream.data() + checked,
           chunks > 1 ? checksum : crc32c(bytes.subspan(payloads), checksum));
}

}  // namespace fmtc
