#include "cuda/accumulate.h"

#include "ops/accumulate.h"
#include "ops/cuda/device.h"

namespace fmtc::ops {
namespace {

void accumulate_(const Tensor& total, const Tensor& part) {
  check_accumulate(total, part);
  const OnDevice device(kAccumulate, total, {{"part", part}});
  cuda::accumulate(device.stream(), part.const_data_ptr<int64_t>(), total.numel(),
                   total.mutable_data_ptr<int64_t>());
  device.check();
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(FMTC_LIBRARY, FMTC_KEY, m) {
  m.impl("accumulate_", TORCH_BOX(&accumulate_));
}

}  // namespace fmtc::ops
