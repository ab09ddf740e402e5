#pragma once

#include <cstddef>
#include <span>

#include "core/status.h"

namespace fmtc {

// Eigenvalues and eigenbasis of a symmetric matrix.
//   covariance   [C, C] row-major; only its lower triangle is used
//   eigenvalues  [C], descending
//   basis        [C, C] row-major; column k is the unit eigenvector of eigenvalues[k], its largest
//                |entry| (the first such on ties) positive
// Equal eigenvalues keep the solver's order, so that the same matrix gives the same basis.
// kBadArgument where the sizes disagree, kNotFinite for NaN or infinity, kNotConverged,
// kOutOfMemory.
Status pca(std::span<const double> covariance, size_t channels, std::span<double> eigenvalues,
           std::span<double> basis);

// The same of eigenvalues and unit eigenvectors that another solver found, in any order.
//   found    [C]
//   vectors  [C, C] row-major; column k belongs to found[k]
// kBadArgument where the sizes disagree, kNotConverged where an eigenvalue is no number.
Status order_components(std::span<const double> found, std::span<const double> vectors,
                        std::span<double> eigenvalues, std::span<double> basis);

}  // namespace fmtc
