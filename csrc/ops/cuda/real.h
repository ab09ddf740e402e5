#pragma once

// Tensors of any real dtype as the kernels' types.
#include "cuda/half.h"
#include "ops/checks.h"

namespace fmtc::ops {

// What stands for a dtype in the kernels.
template <typename T>
struct Real {};

// Calls body(Real<T>) for a real dtype.
template <typename Body>
void with_real(ScalarType dtype, const Body& body) {
  switch (dtype) {
    case ScalarType::Half:
      return body(Real<cuda::Half>());
    case ScalarType::BFloat16:
      return body(Real<cuda::BFloat16>());
    case ScalarType::Float:
      return body(Real<float>());
    default:
      return body(Real<double>());
  }
}

}  // namespace fmtc::ops
