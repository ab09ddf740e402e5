#pragma once

#include <cstdint>
#include <functional>
#include <span>

#include "core/device.h"
#include "core/status.h"

namespace fmtc {

// First and second moments over channels, in double. A set of moments is
//   count  how many samples (pixels of all images)
//   mean   [C]
//   m2     [C, C] row-major, symmetric: the sum over samples of (x_i - mean_i)(x_j - mean_j), not
//          divided; the covariance is m2 / count.

// Runs body(begin, end) so that [0, count) is covered exactly once, in any order and on any number
// of threads; returns when all is done.
using ForEach =
    std::function<void(int64_t count, const std::function<void(int64_t, int64_t)>& body)>;

// A ForEach on the calling thread.
void for_each_serial(int64_t count, const std::function<void(int64_t, int64_t)>& body);

// Moments of a batch of planes, in two passes: the means, then the products around them, so that
// nothing cancels. Work is split by the shape alone, so the result does not depend on threads.
//   x       contiguous [images, channels, plane]
//   mean    [channels]; m2: [channels, channels]; both written (zeros where there is no sample)
// Non-finite input gives non-finite moments. kBadArgument where a size is negative or disagrees,
// kOutOfMemory.
Status channel_moments(std::span<const float> x, int64_t images, int64_t channels, int64_t plane,
                       std::span<double> mean, std::span<double> m2,
                       const ForEach& for_each = for_each_serial);
Status channel_moments(std::span<const double> x, int64_t images, int64_t channels, int64_t plane,
                       std::span<double> mean, std::span<double> m2,
                       const ForEach& for_each = for_each_serial);

// How two sets of samples go into the moments of both together (Chan et al.); counts >= 0.
struct Merge {
  int64_t count_a, count_b;

  FMTC_HD int64_t count() const noexcept { return count_a + count_b; }
  // Either mean itself where the other set is empty, without rounding.
  FMTC_HD double mean(double mean_a, double mean_b) const noexcept {
    return count_a == 0 ? mean_b : mean_a + (mean_b - mean_a) * share_of_b();
  }
  // Of the pair of channels i and j.
  FMTC_HD double m2(double m2_a, double m2_b, double delta_i, double delta_j) const noexcept {
    return m2_a + m2_b + static_cast<double>(count_a) * share_of_b() * (delta_i * delta_j);
  }

 private:
  FMTC_HD double share_of_b() const noexcept {
    return count() == 0 ? 0.0 : static_cast<double>(count_b) / static_cast<double>(count());
  }
};

// The moments of both sample sets together (Chan et al.); the result may not overlap the inputs.
//   mean_*, mean  [C];  m2_*, m2: [C, C];  counts >= 0
// kBadArgument where a size disagrees or a count is negative or their sum overflows.
Status merge_moments(int64_t count_a, std::span<const double> mean_a, std::span<const double> m2_a,
                     int64_t count_b, std::span<const double> mean_b, std::span<const double> m2_b,
                     int64_t& count, std::span<double> mean, std::span<double> m2) noexcept;

}  // namespace fmtc
