#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "core/status.h"

namespace fmtc {

// APack (Delmas Lascorz, Mahmoud, Moshovos: "APack: Off-Chip, Lossless Data Compression for
// Efficient Deep Learning Inference", 2022): values are cut into a few ranges; the range of a value
// is arithmetic coded by its probability, and where it lies in it follows in plain bits. That is
// the code of an arithmetic coder whose frequencies are the same all over a range, so these are
// frequencies of rANS (core/rans.h), and the rest is that coder's.

inline constexpr size_t kMostApackRanges = 16;

// Frequencies that are constant in each of at most kMostApackRanges ranges of 2^k levels (the last
// may be cut off), in the order of the levels; all levels of a range may be escaped instead.
//   counts       [L], L from 1 to kMaxSymbols, >= 0, sum below 2^59; all 0 is taken as all 1
//   log2_total   8..12
//   frequencies  [L + 1], written: as those of rans_frequencies
// The ranges are those of least expected bits where slots may be shared out in fractions, at least
// one for each level, which dynamic programming finds for each of some prices of an escape; whole
// slots are then dealt out to where they save most, and the best of these is kept.
// kOutOfRange for a negative or too large count, kBadArgument for sizes and log2_total.
Status apack_frequencies(std::span<const int64_t> counts, int log2_total,
                         std::span<int32_t> frequencies) noexcept;

}  // namespace fmtc
