#pragma once

#include <cstdint>
#include <span>

namespace fmtc {

// Empirical (zeroth-order) entropy of a histogram in bits/symbol; 0 where nothing was counted, NaN
// where a count is negative.
double entropy(std::span<const int64_t> counts) noexcept;

}  // namespace fmtc
