#include "core/entropy.h"

#include <cmath>
#include <limits>

namespace fmtc {

double entropy(std::span<const int64_t> counts) noexcept {
  double total = 0;
  for (const int64_t count : counts) {
    if (count < 0) return std::numeric_limits<double>::quiet_NaN();
    total += static_cast<double>(count);
  }
  double bits = 0;
  for (const int64_t count : counts) {
    if (count == 0) continue;
    const double share = static_cast<double>(count) / total;
    bits -= share * std::log2(share);
  }
  return bits;
}

}  // namespace fmtc
