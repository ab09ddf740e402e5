// Compiled for AVX2; core/predict_sources.cpp calls it where the CPU has that.
#include <immintrin.h>

#include "core/predict_sources_columns.h"
#include "core/predict_sources_rows.h"

namespace fmtc {

void cross_rows_avx2(CrossRow row, size_t height) noexcept {
  cross_rows<Columns8, Columns8, 4>(row, height);
}

}  // namespace fmtc
