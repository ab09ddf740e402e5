#include "core/predict_sources.h"

#include <algorithm>

#include "core/multiversion.h"

namespace fmtc {
namespace {

// Rows end at a multiple of this beyond their width, so that vectors may read whole.
constexpr size_t kVector = 8;
constexpr size_t kBorder = 1;

// Pairs in a row with its borders.
size_t row_pairs(uint32_t width) noexcept {
  return (width + kVector - 1) / kVector * kVector + 2 * kBorder;
}
size_t plane_pairs(uint32_t height, uint32_t width) noexcept {
  return (height + 2 * kBorder) * row_pairs(width);
}

FMTC_ALWAYS_INLINE void cross_row(const CrossRow& row) noexcept {
  uint32_t* __restrict cross = row.cross;
  std::fill_n(cross, row.width, 0U);
  for (size_t pair = 0; pair < row.count; ++pair) {
    for (size_t tap = 0; tap < kWindow; ++tap) {
      const int16_t* __restrict q = row.pairs + row.planes[pair] + tap / 3 * row.row + tap % 3 * 2;
      const int32_t factor = row.factors[pair * kWindow + tap];
      const int32_t first = static_cast<int16_t>(factor), second = factor >> 16;
      for (size_t w = 0; w < row.width; ++w) {
        cross[w] +=
            static_cast<uint32_t>(first * q[2 * w]) + static_cast<uint32_t>(second * q[2 * w + 1]);
      }
    }
  }
}

#if defined(FMTC_X86_KERNELS)
// AVX-512 VNNI, which the first CPUs with AVX-512 lack.
bool cpu_multiplies_pairs() noexcept {
  static const bool has = __builtin_cpu_supports("avx512vnni");
  return has;
}
#endif

}  // namespace

void cross_rows_scalar(CrossRow row, size_t height) noexcept {
  for (size_t h = 0; h < height; ++h) {
    multiversion<cross_row>(row);
    row.pairs += row.row;
    row.cross += row.width;
  }
}

CrossRows cross_rows_of([[maybe_unused]] Simd simd) noexcept {
#if defined(FMTC_X86_KERNELS)
  if (simd >= Simd::kAvx512 && cpu_multiplies_pairs()) return cross_rows_avx512;
  if (simd >= Simd::kAvx2) return cross_rows_avx2;
#elif defined(FMTC_NEON_KERNELS)
  if (simd == Simd::kNeon) return cross_rows_neon;
#endif
  return cross_rows_scalar;
}

size_t Sources::space(uint32_t sources, uint32_t height, uint32_t width) noexcept {
  return (sources + size_t{1}) / 2 * 2 * plane_pairs(height, width);
}

Sources::Sources(std::span<int16_t> space, uint32_t height, uint32_t width) noexcept
    : space_(space), height_(height), width_(width) {}

void Sources::set(uint32_t index, std::span<const int16_t> levels) noexcept {
  const size_t row = 2 * row_pairs(width_);
  int16_t* plane = space_.data() + size_t{index / 2} * 2 * plane_pairs(height_, width_) + index % 2;
  for (size_t h = 0; h < height_; ++h) {
    int16_t* to = plane + (h + kBorder) * row + 2 * kBorder;
    const int16_t* from = levels.data() + h * width_;
    for (size_t w = 0; w < width_; ++w) to[2 * w] = from[w];
  }
}

bool Sources::tell(std::span<const int16_t> coefficients, std::span<uint32_t> cross,
                   CrossRows cross_rows) const noexcept {
  // Pairs of which one tells something.
  std::array<int32_t, kMostSources / 2 * kWindow> factors;
  std::array<size_t, kMostSources / 2> planes;
  size_t count = 0;
  for (size_t first = 0; first < coefficients.size(); first += 2 * kWindow) {
    int32_t* const of_pair = factors.data() + count * kWindow;
    bool any = false;
    for (size_t tap = 0; tap < kWindow; ++tap) {
      const size_t second = first + kWindow + tap;
      const int16_t low = coefficients[first + tap];
      const int16_t high = second < coefficients.size() ? coefficients[second] : int16_t{0};
      of_pair[tap] = static_cast<int32_t>(static_cast<uint32_t>(static_cast<uint16_t>(high)) << 16 |
                                          static_cast<uint16_t>(low));
      any = any || of_pair[tap] != 0;
    }
    if (any) planes[count++] = first / kWindow * plane_pairs(height_, width_);
  }
  if (count == 0) return false;
  const CrossRow row = {space_.data(), 2 * row_pairs(width_), planes.data(), count, factors.data(),
                        width_,        cross.data()};
  cross_rows(row, height_);
  return true;
}

}  // namespace fmtc
