#pragma once

#include <cstdint>
#include <span>

namespace fmtc {

// CRC-32 (that of zlib, gzip and PNG; reflected polynomial 0xEDB88320, initial value and final xor
// 0xFFFFFFFF). `seed` is the CRC of what came before, as for crc32c.
//
// It is for bytes that hold their own CRC-32C: the CRC-32C of a message and its CRC-32C behind it
// is the same for every message, this one is not.
uint32_t crc32(std::span<const uint8_t> bytes, uint32_t seed = 0) noexcept;

}  // namespace fmtc
