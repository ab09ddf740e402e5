#include "infer/comparison.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "infer/image.h"

namespace fmtc::infer {
namespace {

constexpr double kMostDecibels = 200;

// float64 [N] to the end of the values.
void append(std::vector<double>& values, const at::Tensor& more) {
  const at::Tensor x = more.contiguous();
  values.insert(values.end(), x.const_data_ptr<double>(), x.const_data_ptr<double>() + x.numel());
}

}  // namespace

bool is_classifier(const at::Tensor& output) { return output.dim() == 2 && output.size(1) >= 2; }

at::Tensor signal_to_noise(const at::Tensor& reference, const at::Tensor& output) {
  const at::Tensor expected = reference.flatten(1).to(at::kDouble);
  const at::Tensor noise = (output.flatten(1).to(at::kDouble) - expected).square().sum(1);
  const at::Tensor signal = (expected - expected.mean(1, true)).square().sum(1);
  const at::Tensor decibels = ((signal.log10() - noise.log10()) * 10).clamp_max(kMostDecibels);
  return decibels.masked_fill(signal == 0, std::numeric_limits<double>::quiet_NaN())
      .masked_fill(noise == 0, kMostDecibels);
}

void Comparison::add(const at::Tensor& reference, const at::Tensor& output) {
  if (reference.sizes() != output.sizes()) throw Error("the outputs to compare differ in shape");
  images += output.size(0);
  if (is_classifier(output)) {
    agreeing += (output.argmax(1) == reference.argmax(1)).sum().item<int64_t>();
    const at::Tensor p = reference.to(at::kDouble).log_softmax(1);
    const at::Tensor q = output.to(at::kDouble).log_softmax(1);
    append(kl_divergence, (p.exp() * (p - q)).sum(1).clamp_min(0));
  }
  const at::Tensor decibels = signal_to_noise(reference, output);
  append(snr_db, decibels.masked_select(decibels.isnan().logical_not()));
}

double mean(const std::vector<double>& sample) {
  return std::accumulate(sample.begin(), sample.end(), 0.0) / static_cast<double>(sample.size());
}

double quantile(std::vector<double> sample, double q) {
  const auto rank = static_cast<ptrdiff_t>(std::ceil(q * static_cast<double>(sample.size()))) - 1;
  const auto at = sample.begin() + std::max<ptrdiff_t>(rank, 0);
  std::nth_element(sample.begin(), at, sample.end());
  return *at;
}

}  // namespace fmtc::infer
