#pragma once

#include <cstdint>
#include <span>

namespace fmtc {

// CRC-32C (Castagnoli; reflected polynomial 0x82F63B78, initial value and final xor 0xFFFFFFFF).
// `seed` is the CRC of what came before: crc32c(b, crc32c(a)) == crc32c(a followed by b).
uint32_t crc32c(std::span<const uint8_t> bytes, uint32_t seed = 0) noexcept;

}  // namespace fmtc
