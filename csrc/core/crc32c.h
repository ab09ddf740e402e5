#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "core/device.h"

namespace fmtc {

// CRC-32C (Castagnoli; reflected polynomial 0x82F63B78, initial value and final xor 0xFFFFFFFF).
// `seed` is the CRC of what came before: crc32c(b, crc32c(a)) == crc32c(a followed by b).
uint32_t crc32c(std::span<const uint8_t> bytes, uint32_t seed = 0) noexcept;

// The parts of it that the CUDA kernels use as well: they checksum pieces at the same time.
namespace crc {

// A register of the checksum is a polynomial over GF(2), the coefficient of x^0 in the highest bit.
inline constexpr uint32_t kPolynomial = 0x82F63B78;
inline constexpr uint32_t kOne = 1u << 31;

FMTC_HD constexpr uint32_t times_x(uint32_t a) noexcept {
  return a >> 1 ^ ((a & 1) != 0 ? kPolynomial : 0);
}

FMTC_HD constexpr uint32_t multiply(uint32_t a, uint32_t b) noexcept {
  uint32_t product = 0;
  for (; a != 0; a <<= 1, b = times_x(b)) product ^= (a & kOne) != 0 ? b : 0;
  return product;
}

// x^(8 * bytes): what that many zero bytes multiply a register by.
FMTC_HD constexpr uint32_t power_of_bytes(uint64_t bytes) noexcept {
  uint32_t power = kOne;
  for (uint32_t square = kOne >> 8; bytes != 0; bytes >>= 1, square = multiply(square, square)) {
    if ((bytes & 1) != 0) power = multiply(power, square);
  }
  return power;
}

// The checksum of a followed by b, of theirs and b's size in bytes.
FMTC_HD constexpr uint32_t join(uint32_t a, uint32_t b, uint64_t bytes_of_b) noexcept {
  return multiply(a, power_of_bytes(bytes_of_b)) ^ b;
}

// What the register `byte` becomes after 8 bits: the table that bytes are looked up in.
FMTC_HD constexpr uint32_t table_entry(uint32_t byte) noexcept {
  for (int bit = 0; bit < 8; ++bit) byte = times_x(byte);
  return byte;
}

}  // namespace crc

}  // namespace fmtc
