#pragma once

#include <cstdint>

#include "cuda/stream.h"

namespace fmtc::cuda {

// What remains of core/pca.h's pca where another solver finds the eigenvectors. Matrices are
// row-major, [batch, channels, channels]; all pointers are of the device.

// not_finite [batch] becomes how many NaN and infinities each matrix has.
void count_not_finite(Stream stream, const double* matrices, int64_t batch, int64_t channels,
                      uint32_t* not_finite);

// Puts finite eigenvalues [batch, channels] and the unit eigenvectors in the columns of `vectors`
// into the order and the signs of core/pca.h.
void order_components(Stream stream, const double* eigenvalues, const double* vectors,
                      int64_t batch, int64_t channels, double* ordered, double* basis);

}  // namespace fmtc::cuda
