#include "cuda/channel_moments.h"

#include <algorithm>
#include <tuple>

#include "ops/channel_moments.h"
#include "ops/cuda/device.h"
#include "ops/cuda/real.h"

namespace fmtc::ops {
namespace {

std::tuple<Tensor, Tensor, Tensor> channel_moments(const Tensor& x) {
  check_channel_moments(x);
  const OnDevice device(kChannelMoments, x);
  const Tensor input = torch::stable::contiguous(x);
  const int64_t channels = x.size(1);
  const cuda::Planes planes = {x.size(0), channels, x.size(2) * x.size(3)};
  const cuda::MomentsPlan plan(planes);
  const Tensor sums =
      device.empty({std::max(plan.mean_sums, plan.product_sums)}, ScalarType::Double);
  const Tensor count = device.empty({}, ScalarType::Long);
  const Tensor mean = device.empty({channels}, ScalarType::Double);
  const Tensor m2 = device.empty({channels, channels}, ScalarType::Double);
  with_real(x.scalar_type(), [&]<typename T>(Real<T>) {
    cuda::channel_moments(device.stream(), static_cast<const T*>(input.const_data_ptr()), planes,
                          plan, sums.mutable_data_ptr<double>(), count.mutable_data_ptr<int64_t>(),
                          mean.mutable_data_ptr<double>(), m2.mutable_data_ptr<double>());
  });
  device.check();
  return {count, mean, m2};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(FMTC_LIBRARY, FMTC_KEY, m) {
  m.impl("channel_moments", TORCH_BOX(&channel_moments));
}

}  // namespace fmtc::ops
