#include "core/dct_cm.h"

#include "core/dct_cm_bits.h"

namespace fmtc {

size_t dct_cm_chunk_bound(size_t values) noexcept { return (values * (1 + kMaxWordBits) + 7) / 8; }

Status dct_cm_chunk_encode(std::span<const int16_t> levels, Words words, std::span<uint8_t> out,
                           size_t& used) noexcept {
  return dct_cm::encode(levels, words, out, used);
}

Status dct_cm_chunk_decode(std::span<const uint8_t> payload, Words words,
                           std::span<int16_t> levels) noexcept {
  return dct_cm::decode(payload, words, levels);
}

}  // namespace fmtc
