#include "core/crc32c.h"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

#include <array>

#include "core/bytes.h"

namespace fmtc {
namespace {

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) table[byte] = crc::table_entry(byte);
  return table;
}

constexpr std::array<uint32_t, 256> kTable = make_table();

uint32_t update_table(uint32_t crc, std::span<const uint8_t> bytes) noexcept {
  for (const uint8_t byte : bytes) crc = (crc >> 8) ^ kTable[(crc ^ byte) & 0xFF];
  return crc;
}

// The instructions of a CPU that has any for this polynomial: bytes, or words of 8 of them. A
// Register holds a checksum as the latter leave it.
#if defined(__x86_64__)
#define FMTC_CRC __attribute__((target("sse4.2")))
using Register = uint64_t;
FMTC_CRC inline Register add_word(Register crc, uint64_t word) noexcept {
  return __builtin_ia32_crc32di(crc, word);
}
FMTC_CRC inline uint32_t add_byte(uint32_t crc, uint8_t byte) noexcept {
  return __builtin_ia32_crc32qi(crc, byte);
}
bool has_instructions() noexcept { return __builtin_cpu_supports("sse4.2"); }
#elif defined(__aarch64__) && defined(__linux__)
#if defined(__clang__)
#define FMTC_CRC __attribute__((target("crc")))
#define FMTC_CRC_WORD __builtin_arm_crc32cd
#define FMTC_CRC_BYTE __builtin_arm_crc32cb
#else
#define FMTC_CRC __attribute__((target("+crc")))
#define FMTC_CRC_WORD __builtin_aarch64_crc32cx
#define FMTC_CRC_BYTE __builtin_aarch64_crc32cb
#endif
using Register = uint32_t;
FMTC_CRC inline Register add_word(Register crc, uint64_t word) noexcept {
  return FMTC_CRC_WORD(crc, word);
}
FMTC_CRC inline uint32_t add_byte(uint32_t crc, uint8_t byte) noexcept {
  return FMTC_CRC_BYTE(crc, byte);
}
bool has_instructions() noexcept { return (getauxval(AT_HWCAP) & HWCAP_CRC32) != 0; }
#endif

#if defined(FMTC_CRC)
// The instruction takes three cycles and one can begin in each, so three tiles are done at once.
constexpr size_t kTile = 1024;

// What kTile zero bytes make of a checksum, which is linear: for each byte of it a table.
constexpr std::array<std::array<uint32_t, 256>, 4> make_shift() {
  std::array<std::array<uint32_t, 256>, 4> shift{};
  constexpr uint32_t kPower = crc::power_of_bytes(kTile);
  for (size_t bit = 0; bit < 32; ++bit) {
    shift[bit / 8][1u << bit % 8] = crc::multiply(1u << bit, kPower);
  }
  for (auto& table : shift) {
    for (uint32_t byte = 1; byte < 256; ++byte) {
      table[byte] = table[byte & (byte - 1)] ^ table[byte & (0u - byte)];
    }
  }
  return shift;
}

constexpr std::array<std::array<uint32_t, 256>, 4> kShift = make_shift();

uint32_t shift_tile(uint32_t crc) noexcept {
  return kShift[0][crc & 0xFF] ^ kShift[1][crc >> 8 & 0xFF] ^ kShift[2][crc >> 16 & 0xFF] ^
         kShift[3][crc >> 24];
}

FMTC_CRC uint32_t update_instructions(uint32_t crc, std::span<const uint8_t> bytes) noexcept {
  const uint8_t* next = bytes.data();
  size_t left = bytes.size();
  for (; left >= 3 * kTile; left -= 3 * kTile, next += 3 * kTile) {
    Register first = crc, second = 0, third = 0;
    for (size_t i = 0; i < kTile; i += 8) {
      first = add_word(first, load_le<uint64_t>(next + i));
      second = add_word(second, load_le<uint64_t>(next + kTile + i));
      third = add_word(third, load_le<uint64_t>(next + 2 * kTile + i));
    }
    crc = shift_tile(static_cast<uint32_t>(first)) ^ static_cast<uint32_t>(second);
    crc = shift_tile(crc) ^ static_cast<uint32_t>(third);
  }
  Register last = crc;
  for (; left >= 8; left -= 8, next += 8) last = add_word(last, load_le<uint64_t>(next));
  crc = static_cast<uint32_t>(last);
  for (; left > 0; --left, ++next) crc = add_byte(crc, *next);
  return crc;
}
#endif

}  // namespace

uint32_t crc32c(std::span<const uint8_t> bytes, uint32_t seed) noexcept {
#if defined(FMTC_CRC)
  static const bool has = has_instructions();
  if (has) return ~update_instructions(~seed, bytes);
#endif
  return ~update_table(~seed, bytes);
}

}  // namespace fmtc
