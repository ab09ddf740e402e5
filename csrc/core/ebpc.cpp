#include "core/ebpc.h"

#include "core/ebpc_bits.h"

namespace fmtc {

size_t ebpc_chunk_bound(size_t values) noexcept {
  const size_t octuples = values / kEbpcOctuple + (values % kEbpcOctuple != 0);
  const size_t marks = 3 * values + 2;  // most where zeros and others take turns
  return (marks + octuples * (kMaxWordBits + ebpc::kMaxPlanes * ebpc::kLongestCode) + 7) / 8;
}

Status ebpc_chunk_encode(std::span<const int16_t> levels, Words words, std::span<uint8_t> out,
                         size_t& used) noexcept {
  return ebpc::encode(levels, words, out, used);
}

Status ebpc_chunk_decode(std::span<const uint8_t> payload, Words words,
                         std::span<int16_t> levels) noexcept {
  return ebpc::decode(payload, words, levels);
}

}  // namespace fmtc
