#pragma once

#include <cstdint>

#include "cuda/stream.h"

namespace fmtc::cuda {

// Planes [images, components, height, width] of levels or residuals, int16, and the coefficients of
// each component, int16 [components, 3 + kWindow * sources]; device. Coefficients beyond
// core/predict.h's limit count as the limit.
struct PredictedPlanes {
  const int16_t* coefficients;
  int64_t images, components, height, width, sources;
};

// residuals of levels, as core/predict.h and core/predict_sources.h define them; device, not
// overlapping.
void predict(Stream stream, const int16_t* levels, const PredictedPlanes& planes,
             int16_t* residuals);

// The inverse.
void unpredict(Stream stream, const int16_t* residuals, const PredictedPlanes& planes,
               int16_t* levels);

}  // namespace fmtc::cuda
