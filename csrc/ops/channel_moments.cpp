#include "ops/channel_moments.h"

#include <torch/csrc/stable/library.h>

#include <tuple>

#include "core/moments.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

template <typename T>
Status moments_of(const Tensor& x, const Tensor& mean, const Tensor& m2) {
  return fmtc::channel_moments(values<T>(x), x.size(0), x.size(1), x.size(2) * x.size(3),
                               mutable_values<double>(mean), mutable_values<double>(m2),
                               for_each_torch);
}

std::tuple<Tensor, Tensor, Tensor> channel_moments(const Tensor& x) {
  check_channel_moments(x);
  const bool is_double = x.scalar_type() == ScalarType::Double;
  const ScalarType dtype = is_double ? ScalarType::Double : ScalarType::Float;
  const Tensor planes = contiguous_of(converted(x, dtype));
  const int64_t channels = x.size(1);
  const Tensor mean = torch::stable::empty({channels}, ScalarType::Double);
  const Tensor m2 = torch::stable::empty({channels, channels}, ScalarType::Double);
  check_status(kChannelMoments, is_double ? moments_of<double>(planes, mean, m2)
                                          : moments_of<float>(planes, mean, m2));
  return {scalar(x.size(0) * x.size(2) * x.size(3)), mean, m2};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("channel_moments", TORCH_BOX(&channel_moments)); }

}  // namespace fmtc::ops
