#include "core/crc32c.h"

#include <array>

#include "core/bytes.h"

namespace fmtc {
namespace {

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82F63B78u : 0u);
    table[byte] = crc;
  }
  return table;
}

constexpr std::array<uint32_t, 256> kTable = make_table();

uint32_t update_table(uint32_t crc, std::span<const uint8_t> bytes) noexcept {
  for (const uint8_t byte : bytes) crc = (crc >> 8) ^ kTable[(crc ^ byte) & 0xFF];
  return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t update_sse42(uint32_t crc,
                                                        std::span<const uint8_t> bytes) noexcept {
  const uint8_t* next = bytes.data();
  size_t left = bytes.size();
  uint64_t wide = crc;
  for (; left >= 8; left -= 8, next += 8) {
    wide = __builtin_ia32_crc32di(wide, load_le<uint64_t>(next));
  }
  crc = static_cast<uint32_t>(wide);
  for (; left > 0; --left, ++next) crc = __builtin_ia32_crc32qi(crc, *next);
  return crc;
}
#endif

}  // namespace

uint32_t crc32c(std::span<const uint8_t> bytes, uint32_t seed) noexcept {
#if defined(__x86_64__)
  static const bool has_sse42 = __builtin_cpu_supports("sse4.2");
  if (has_sse42) return ~update_sse42(~seed, bytes);
#endif
  return ~update_table(~seed, bytes);
}

}  // namespace fmtc
