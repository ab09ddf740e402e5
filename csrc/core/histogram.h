#pragma once

#include <cstdint>
#include <span>

#include "core/status.h"

namespace fmtc {

// Whether all levels lie in [lo, hi]; true for none.
bool levels_within(std::span<const int16_t> levels, int32_t lo, int32_t hi) noexcept;

// Adds to counts[level - lo] the number of times that each level occurs.
//   levels  any number of levels
//   counts  [hi - lo + 1]; not cleared first, so that calls can be accumulated
// kBadArgument where lo > hi or counts has another size; kOutOfRange where a level lies outside
// [lo, hi]. Nothing is added in either case.
Status histogram(std::span<const int16_t> levels, int32_t lo, int32_t hi,
                 std::span<int64_t> counts) noexcept;

}  // namespace fmtc
