// Which instruction set chunks are coded with, and the test that it has to pass.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/rans.h"
#include "core/rans_kernels.h"
#include "core/simd.h"

namespace fmtc {
namespace {

// Whether kernels encode groups of each size that has a kernel of its own to the bytes of the
// scalar code, and decode them. Every other chunk begins elsewhere in the tensor of these levels.
bool codes_groups(std::span<const int16_t> levels, const ComponentTables& encode_tables,
                  const ComponentTables& decode_tables, const RansKernels* kernels) noexcept {
  constexpr size_t kValues = 250;
  const std::array<size_t, 2> first = {0, levels.size() - kValues};
  for (int states = 1; states <= 1 << RansKernels::kMaxLog2GroupStates; states *= 2) {
    using Bytes = std::array<uint8_t, kRansStateBytes * kMaxStates + 2 * kRansDigitBytes * kValues>;
    std::array<Bytes, 2> coded;
    std::array<size_t, 2> sizes{};
    for (size_t i = 0; i < 2; ++i) {
      if (rans_chunk_encode(levels.subspan(first[i], kValues), first[i], encode_tables, states,
                            coded[i], sizes[i], nullptr) != Status::kOk) {
        return false;
      }
    }
    for (size_t lanes = kMinGroupLanes; lanes <= kMaxGroupLanes; lanes *= 2) {
      const size_t count = lanes / static_cast<size_t>(states);
      std::array<Bytes, kMaxGroupLanes> encoded;
      std::array<UncodedChunk, kMaxGroupLanes> uncoded;
      for (size_t i = 0; i < count; ++i) {
        uncoded[i] = {levels.subspan(first[i % 2], kValues),
                      first[i % 2],
                      encode_tables,
                      encoded[i],
                      0,
                      Status::kBadCode};
      }
      rans_chunks_encode(std::span(uncoded).first(count), states, kernels);
      for (size_t i = 0; i < count; ++i) {
        const auto expected = std::span(coded[i % 2]).first(sizes[i % 2]);
        if (uncoded[i].status != Status::kOk || uncoded[i].used != expected.size() ||
            !std::equal(expected.begin(), expected.end(), encoded[i].begin())) {
          return false;
        }
      }
      std::array<std::array<int16_t, kValues>, kMaxGroupLanes> decoded{};
      std::array<CodedChunk, kMaxGroupLanes> chunks;
      for (size_t i = 0; i < count; ++i) {
        chunks[i] = {std::span(coded[i % 2]).first(sizes[i % 2]), first[i % 2], decode_tables,
                     decoded[i], Status::kBadCode};
      }
      rans_chunks_decode(std::span(chunks).first(count), states, kernels);
      for (size_t i = 0; i < count; ++i) {
        const auto expected = levels.subspan(first[i % 2], kValues);
        if (chunks[i].status != Status::kOk ||
            !std::equal(expected.begin(), expected.end(), decoded[i].begin())) {
          return false;
        }
      }
    }
  }
  return true;
}

// Whether kernels give the bytes of the scalar code for levels with frequencies from 1
// to 2048, two tables in a round and escapes; and give the levels back.
bool codes_like_scalar(const RansKernels* kernels) noexcept {
  constexpr size_t kPlane = 200, kValues = 2 * kPlane, kLevels = 11;
  constexpr int32_t kLo = -5;
  std::array<int32_t, 2 * (kLevels + 1)> frequencies = {
      1, 3, 60, 200, 700, 2048, 800, 230, 50, 2, 1, 1, 1, 1, 1, 1, 1, 4000, 80, 7, 1, 1, 1, 1};
  std::array<uint32_t, 2 * (kLevels + 1)> encode;
  std::array<uint32_t, 2 * kMaxTotal> decode;
  std::array<int64_t, 2> base;
  for (size_t table = 0; table < 2; ++table) {
    const auto of_table = std::span(frequencies).subspan(table * (kLevels + 1), kLevels + 1);
    if (rans_encode_table(of_table, std::span(encode).subspan(table * (kLevels + 1),
                                                              kLevels + 1)) != Status::kOk ||
        rans_decode_table(of_table, std::span(decode).subspan(table * kMaxTotal, kMaxTotal),
                          base[table]) != Status::kOk) {
      return false;
    }
  }
  std::array<int16_t, kValues> levels;
  uint32_t random = 1;
  for (int16_t& level : levels) {
    random = random * 1664525 + 1013904223;
    // The sum of two dice, now and then one that has no slots.
    level = static_cast<int16_t>(random >> 24 == 7 ? random >> 8
                                                   : (random >> 28) % 6 + (random >> 16) % 6 +
                                                         static_cast<uint32_t>(kLo));
  }
  const std::array<int64_t, 2> table_of = {0, 1};
  const ComponentTables encode_tables = {kLo, kLevels + 1, encode, table_of, kPlane};
  const ComponentTables decode_tables = {kLo, kMaxTotal, decode, table_of, kPlane, base};
  for (int states = 8; states <= kMaxStates; states *= 2) {
    std::array<uint8_t, kRansStateBytes * kMaxStates + 2 * kRansDigitBytes * kValues> expected,
        coded;
    std::array<int16_t, kValues> decoded{};
    size_t expected_size = 0, coded_size = 0;
    const bool same =
        rans_chunk_encode(levels, 0, encode_tables, states, expected, expected_size, nullptr) ==
            Status::kOk &&
        rans_chunk_encode(levels, 0, encode_tables, states, coded, coded_size, kernels) ==
            Status::kOk &&
        coded_size == expected_size &&
        std::equal(coded.begin(), coded.begin() + static_cast<std::ptrdiff_t>(coded_size),
                   expected.begin()) &&
        rans_chunk_decode(std::span(coded).first(coded_size), 0, decode_tables, states, decoded,
                          kernels) == Status::kOk &&
        decoded == levels;
    if (!same) return false;
  }
  return codes_groups(levels, encode_tables, decode_tables, kernels);
}

}  // namespace

const RansKernels* rans_kernels([[maybe_unused]] Simd simd) noexcept {
#if defined(FMTC_X86_KERNELS)
  if (simd == Simd::kAvx2) return &kRansAvx2;
  if (simd == Simd::kAvx512) return &kRansAvx512;
#elif defined(FMTC_NEON_KERNELS)
  if (simd == Simd::kNeon) return &kRansNeon;
#endif
  return nullptr;
}

Simd rans_simd() noexcept {
  // A wrong byte would be found only where the stream is decoded, or never. So what the CPU offers
  // is tried first, each instruction set on its own; this costs some microseconds once.
  static const Simd best = [] {
    Simd found = Simd::kScalar;
    for (const Simd simd : kSimds) {
      if (simd <= cpu_simd() && codes_like_scalar(rans_kernels(simd))) found = simd;
    }
    return found;
  }();
  return best;
}

}  // namespace fmtc
