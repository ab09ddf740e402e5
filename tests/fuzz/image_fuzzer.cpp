// JPEG and PNG files, as they are and with the checksums of a PNG's chunks made right.

#include <memory>

#include "core/crc32.h"
#include "infer/image.h"
#include "infer/image_file.h"
#include "input.h"

namespace fmtc {
namespace {

constexpr int64_t kMostPixels = 1 << 16;  // beyond it is only slower

void read(std::span<const uint8_t> bytes, int channels) {
  if (bytes.empty()) return;
  // A copy, as fmemopen wants one that it may write to.
  std::vector<uint8_t> copy(bytes.begin(), bytes.end());
  const infer::File file(fmemopen(copy.data(), copy.size(), "rb"));
  FMTC_REQUIRE(file != nullptr);
  try {
    const infer::Image image = infer::read_image(file.get(), channels, kMostPixels);
    FMTC_REQUIRE(image.height * image.width <= kMostPixels && image.channels == channels);
    uint32_t sum = 0;  // all must have been written, for MSan and valgrind
    for (const uint8_t sample : image.pixels()) sum += sample;
    FMTC_REQUIRE(sum <= 255 * image.pixels().size());
  } catch (const infer::Error&) {
    return;
  }
}

uint32_t big_endian(const uint8_t* at) {
  return uint32_t{at[0]} << 24 | uint32_t{at[1]} << 16 | uint32_t{at[2]} << 8 | at[3];
}

void repair_png(std::span<uint8_t> bytes) {
  constexpr size_t kSignature = 8, kHead = 8, kChecksum = 4;
  for (size_t at = kSignature; at + kHead + kChecksum <= bytes.size();) {
    const size_t size = big_endian(bytes.data() + at);
    if (size > bytes.size() - at - kHead - kChecksum) return;
    const uint32_t crc = crc32(bytes.subspan(at + 4, 4 + size));
    uint8_t* to = bytes.data() + at + kHead + size;
    for (int i = 0; i < 4; ++i) to[i] = static_cast<uint8_t>(crc >> (24 - 8 * i));
    at += kHead + size + kChecksum;
  }
}

}  // namespace
}  // namespace fmtc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fmtc::read({data, size}, 3);
  std::vector<uint8_t> repaired(data, data + size);
  fmtc::repair_png(repaired);
  fmtc::read(repaired, size % 2 == 0 ? 1 : 3);
  return 0;
}
