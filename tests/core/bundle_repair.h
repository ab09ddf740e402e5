#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/bytes.h"
#include "core/crc32.h"
#include "core/crc32c.h"

namespace fmtc {

// Makes the checksums of a bundle right, as far as its fields say where they are. The fields are
// read without the library, whether they are right or wrong.
inline void repair_bundle(std::vector<uint8_t>& bundle) {
  size_t at = 3;
  const auto varint = [&] {
    uint64_t value = 0;
    for (int shift = 0; at < bundle.size(); shift += 7) {
      const uint8_t byte = bundle[at++];
      if (shift < 35) value |= uint64_t{byte & 127u} << shift;
      if (byte < 128) break;
    }
    return value;
  };
  const uint64_t images = varint(), tensors = varint();
  for (uint64_t t = 0; t < tensors && at < bundle.size(); ++t) at += 1 + size_t{bundle[at]};
  if (tensors != 0 && images > bundle.size() / 8 / tensors) return;
  const size_t checked = at + 8 * static_cast<size_t>(images * tensors);
  if (checked + 4 > bundle.size()) return;
  const std::span<const uint8_t> bytes(bundle);
  size_t begin = checked + 4;
  for (; at < checked; at += 8) {
    const size_t size = load_le<uint32_t>(bundle.data() + at);
    if (size > bundle.size() - begin) break;
    store_le(bundle.data() + at + 4, crc32(bytes.subspan(begin, size)));
    begin += size;
  }
  store_le(bundle.data() + checked, crc32c(bytes.first(checked)));
}

}  // namespace fmtc
