#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "core/moments.h"
#include "core/predict.h"
#include "core/predict_sources.h"
#include "core/status.h"

namespace fmtc {

// The prediction of whole images: of each component from its own neighbours (core/predict.h) and
// from the first components (core/predict_sources.h).

// Coefficients of a component: three of its own neighbours, then a window of each source.
inline constexpr size_t kOwnCoefficients = 3;

struct Prediction {
  std::vector<PredictCoefficients> own;   // [K]
  std::span<const int16_t> coefficients;  // [K, kOwnCoefficients + kWindow * sources]
  uint32_t sources = 0;                   // kMostSources at most
  bool any = false;                       // whether one coefficient is not 0

  // coefficients: as above, of `components` K; they must outlive the prediction.
  Prediction(std::span<const int16_t> coefficients, uint64_t components);

  uint64_t components() const { return own.size(); }
  // The first component whose own coefficients exceed the limit; components() where none does.
  uint64_t first_beyond_limit() const;
  // Of the sources before component k, [sources, 3, 3].
  std::span<const int16_t> cross_of(uint64_t k) const;
};

// residuals of levels, and levels of residuals.
//   levels, residuals  [images, K, height, width], sharing no memory
// kBadArgument for sizes, kOutOfRange where coefficients exceed the limit, kOutOfMemory. The way
// back takes the sources of an image one after the other, all else in any order.
Status predict_images(const Prediction& prediction, std::span<const int16_t> levels, int64_t images,
                      uint32_t height, uint32_t width, std::span<int16_t> residuals,
                      const ForEach& for_each = for_each_serial);
Status unpredict_images(const Prediction& prediction, std::span<const int16_t> residuals,
                        int64_t images, uint32_t height, uint32_t width, std::span<int16_t> levels,
                        const ForEach& for_each = for_each_serial);

}  // namespace fmtc
