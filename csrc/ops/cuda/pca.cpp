// The eigenvectors are torch's. This operator waits for the device: its errors, as those of torch's
// solver, depend on values.
#include "cuda/pca.h"

#include <tuple>

#include "ops/cuda/device.h"
#include "ops/eigh.h"
#include "ops/pca.h"

namespace fmtc::ops {
namespace {

std::tuple<Tensor, Tensor> pca(const Tensor& covariance) {
  check_pca(covariance);
  const OnDevice device(kPca, covariance);
  const int64_t batch = covariance.dim() == 3 ? covariance.size(0) : 1;
  const int64_t channels = covariance.size(covariance.dim() - 1);
  const Tensor input = torch::stable::contiguous(covariance);
  const Tensor not_finite = device.empty({batch}, ScalarType::Int);
  cuda::count_not_finite(device.stream(), input.const_data_ptr<double>(), batch, channels,
                         reinterpret_cast<uint32_t*>(not_finite.mutable_data_ptr<int32_t>()));
  const Tensor on_host =
      torch::stable::to(not_finite, torch::stable::Device(torch::headeronly::DeviceType::CPU));
  for (int64_t i = 0; i < batch; ++i) {
    check_of_batch(i, on_host.const_data_ptr<int32_t>()[i] == 0 ? Status::kOk : Status::kNotFinite);
  }
  const auto [values, vectors] = eigh(input);
  const Tensor rows = torch::stable::contiguous(vectors);
  const Tensor eigenvalues =
      device.empty(covariance.sizes().slice(0, covariance.dim() - 1), ScalarType::Double);
  const Tensor basis = device.empty(covariance.sizes(), ScalarType::Double);
  cuda::order_components(device.stream(), values.const_data_ptr<double>(),
                         rows.const_data_ptr<double>(), batch, channels,
                         eigenvalues.mutable_data_ptr<double>(), basis.mutable_data_ptr<double>());
  device.check();
  return {eigenvalues, basis};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(FMTC_LIBRARY, FMTC_KEY, m) { m.impl("pca", TORCH_BOX(&pca)); }

}  // namespace fmtc::ops
