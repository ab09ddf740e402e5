#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/coding.h"
#include "core/device.h"
#include "core/simd.h"
#include "core/status.h"

namespace fmtc {

// Interleaved rANS coding, stage by stage: counts -> frequencies -> encode and decode tables ->
// chunks (docs/stream_format.md). States are 32 bits wide, at least 2^16 between two values, and
// exchange 16-bit digits with the payload.
//
// A table codes at most kMaxDirectLevels levels with a symbol of their own ("direct"); all of them
// lie within as many consecutive levels. Any other int16 level is the escape symbol, and the level
// itself follows in 16 bits. Symbols are thus bytes. Frequencies of a table sum to 2^log2_total.

inline constexpr int kMinLog2Total = 8;
inline constexpr int kMaxLog2Total = 12;
inline constexpr int kMaxTotal = 1 << kMaxLog2Total;
inline constexpr int kMaxStates = 64;
inline constexpr size_t kRansStateBytes = 4;
inline constexpr size_t kRansDigitBytes = 2;  // also of an escaped level
inline constexpr size_t kMaxDirectLevels = 255;
inline constexpr uint32_t kEscapeSymbol = 255;

// Frequencies that make the expected length of the counts short: of the levels inside the window
// of kMaxDirectLevels levels with most counts, those which are worth a slot of the table are
// direct, and slots are dealt out where each saves most. Uses no mathematical library, so that any
// machine finds the same.
//   counts       [L], L from 1 to kMaxSymbols, >= 0, sum below 2^59; all 0 is taken as all 1
//   log2_total   8..12
//   frequencies  [L + 1], written: of each level, 0 for an escaped one; last of the escape, >= 1
// kOutOfRange for a negative or too large count, kBadArgument for sizes and log2_total.
Status rans_frequencies(std::span<const int64_t> counts, int log2_total,
                        std::span<int32_t> frequencies) noexcept;

// log2 of the sum of frequencies [L + 1]; 0 unless they make a table: none negative, the escape's
// at least 1, the direct levels within the window, the sum 2^8 .. 2^12.
int rans_log2_total(std::span<const int32_t> frequencies) noexcept;

// entries[symbol] = frequency << 16 | start; 0 for an escaped level. The slots of the direct levels
// begin at 0, in their order; those of the escape (the last entry) are behind them.
//   frequencies, entries  [L + 1]
// kBadTable where rans_log2_total refuses the frequencies.
Status rans_encode_table(std::span<const int32_t> frequencies,
                         std::span<uint32_t> entries) noexcept;

// entries[slot] = (slot - start) << 20 | (frequency - 1) << 8 | symbol, where the symbol is
// level - lo - base, or kEscapeSymbol.
//   entries  [2^log2_total];  base: written, level - lo of the first direct level
Status rans_decode_table(std::span<const int32_t> frequencies, std::span<uint32_t> entries,
                         int64_t& base) noexcept;

// kBadArgument unless tables_valid and a table has 2 .. kMaxSymbols + 1 entries; kBadTable unless
// the escapes have slots and all tables the same sum of frequencies. To be called once before
// coding. Other wrong entries give streams of wrong levels, nothing worse.
Status rans_check_encode_tables(const ComponentTables& tables, uint64_t components) noexcept;
// kBadArgument unless tables_valid, a table has 2^8 .. 2^12 entries, and each has a base from 0 to
// kMaxSymbols - 1. Whatever the entries are, decoding stays inside its spans.
Status rans_check_decode_tables(const ComponentTables& tables, uint64_t components) noexcept;

// The largest payload of a chunk, and the work space of its encoder: the states, and at most one
// digit and one escaped level a value. (Payloads themselves stay near log2_total + 16 bits a value
// where all values are escaped, and near log2_total bits where none is.)
size_t rans_chunk_bound(size_t values, int states) noexcept;

// The smallest one. A value of frequency f takes a state x to f * floor(x / M) + x mod M - start,
// which is at most x - floor(x / M), as f < M = 2^log2_total unless each value is an escape with a
// level of its own. So x - (M - 1) shrinks by a factor of 1 - 1/M at least, and for M <= 4096 a
// state below 2^32 is below 2^16 after ln((2^32 - 4095) / (2^16 - 4095)) / -ln(1 - 1 / 4096) < 45
// 686 values: each state and each digit stand for at most kMaxValuesPerDigit values.
inline constexpr size_t kMaxValuesPerDigit = 46000;
FMTC_HD inline size_t rans_smallest_payload(size_t values, int states) noexcept {
  const auto count = static_cast<size_t>(states);
  const size_t digits = (values + kMaxValuesPerDigit - 1) / kMaxValuesPerDigit;
  return kRansStateBytes * count + kRansDigitBytes * (digits > count ? digits - count : 0);
}

// The instruction set that chunks are coded with unless a caller names another one: the best of
// cpu_simd() that codes values as the scalar code does.
Simd rans_simd() noexcept;

// The vector code for an instruction set, which the CPU must have; null for kScalar.
struct RansKernels;
const RansKernels* rans_kernels(Simd simd) noexcept;

// Value i of a chunk is coded by state i % states. Payload: the states as u32, as the decoder
// begins; the digits in the order in which the decoder takes them, which fills a state below 2^16
// up right after the value that made it so; the escaped levels as int16, the first one last.
//   levels  the chunk's values, of which the first has index `first` in the tensor
//   tables  checked by rans_check_encode_tables; the values lie within its segments
//   states  1..64, a power of two
//   out     rans_chunk_bound bytes; `used` becomes the payload's size
//   kernels  null for scalar code; the bytes are the same with all
Status rans_chunk_encode(std::span<const int16_t> levels, uint64_t first,
                         const ComponentTables& tables, int states, std::span<uint8_t> out,
                         size_t& used,
                         const RansKernels* kernels = rans_kernels(rans_simd())) noexcept;

// The inverse; writes all of `levels` or returns kBadCode (levels are then unspecified). All digits
// and escapes must be used, and every state must end at 2^16, where the encoder began.
//   tables  checked by rans_check_decode_tables
Status rans_chunk_decode(std::span<const uint8_t> payload, uint64_t first,
                         const ComponentTables& tables, int states, std::span<int16_t> levels,
                         const RansKernels* kernels = rans_kernels(rans_simd())) noexcept;

// How many chunks with so many states are coded together by the two below.
constexpr size_t rans_chunks_together(int states) noexcept {
  return states >= 1 && states <= 8 ? static_cast<size_t>(32 / states) : 1;
}

// Encodes each of the chunks like rans_chunk_encode, to the same bytes; what came of it is in the
// chunk's `used` and status. Those that rans_chunks_decode would decode together are encoded
// together.
void rans_chunks_encode(std::span<UncodedChunk> chunks, int states,
                        const RansKernels* kernels = rans_kernels(rans_simd())) noexcept;

// Decodes each of the chunks like rans_chunk_decode; what came of it is in the chunk's status. Few
// states do not fill a vector, or are done long before the next round can begin. So chunks with 1
// to 8 states that follow each other here are decoded together, up to 32 states of them, where they
// have as many values and their tables the same entries. What is wrong with one does not concern
// the others.
//   states  of each chunk;  kernels: null for scalar code
void rans_chunks_decode(std::span<CodedChunk> chunks, int states,
                        const RansKernels* kernels = rans_kernels(rans_simd())) noexcept;

}  // namespace fmtc
