// For 64-bit ARM, whose CPUs all have NEON; core/predict_sources.cpp calls it.
#include <arm_neon.h>

#include "core/predict_sources_rows.h"

namespace fmtc {
namespace {

struct Columns4 {
  static constexpr size_t kColumns = 4;
  using Type = int32x4_t;

  static Type zero() { return vdupq_n_s32(0); }
  static Type all(int32_t factor) { return vdupq_n_s32(factor); }
  // Rows go on behind their width, so that all may be read.
  static int16x4x2_t pairs(const int16_t* from, size_t) { return vld2_s16(from); }
  static Type add_products(Type sums, int16x4x2_t two, Type factor) {
    const int16x4_t both = vget_low_s16(vreinterpretq_s16_s32(factor));
    return vmlal_lane_s16(vmlal_lane_s16(sums, two.val[0], both, 0), two.val[1], both, 1);
  }
  static void store(Type sums, uint32_t* to, size_t count) {
    const uint32x4_t all_four = vreinterpretq_u32_s32(sums);
    if (count == kColumns) return vst1q_u32(to, all_four);
    uint32_t each[kColumns];
    vst1q_u32(each, all_four);
    std::copy_n(each, count, to);
  }
};

}  // namespace

void cross_rows_neon(CrossRow row, size_t height) noexcept {
  cross_rows<Columns4, Columns4, 8>(row, height);
}

}  // namespace fmtc
