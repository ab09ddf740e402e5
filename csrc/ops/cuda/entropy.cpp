// A histogram with a negative count, for which the CPU operator raises, gives NaN.
#include "cuda/entropy.h"

#include "ops/cuda/device.h"
#include "ops/entropy.h"

namespace fmtc::ops {
namespace {

Tensor entropy(const Tensor& counts) {
  check_entropy(counts);
  const OnDevice device(kEntropy, counts);
  const Tensor input = torch::stable::contiguous(counts);
  const int64_t last = counts.dim() - 1;
  const Tensor bits = device.empty(counts.sizes().slice(0, last), ScalarType::Double);
  cuda::entropy(device.stream(), input.const_data_ptr<int64_t>(), bits.numel(), counts.size(last),
                bits.mutable_data_ptr<double>());
  device.check();
  return bits;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(FMTC_LIBRARY, FMTC_KEY, m) { m.impl("entropy", TORCH_BOX(&entropy)); }

}  // namespace fmtc::ops
