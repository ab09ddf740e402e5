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
constexpr double kRounding = 1e-6;  // of an output's norm: what deviates by less is constant

// float64 [N]; NaN where there is noise alone.
at::Tensor to_decibels(const at::Tensor& signal, const at::Tensor& noise) {
  const at::Tensor decibels = ((signal.log10() - noise.log10()) * 10).clamp_max(kMostDecibels);
  return decibels.masked_fill(signal == 0, std::numeric_limits<double>::quiet_NaN())
      .masked_fill(noise == 0, kMostDecibels);
}

// float64 [N] of [N, ...].
at::Tensor squared_norms(const at::Tensor& x) { return x.reshape({x.size(0), -1}).square().sum(1); }

}  // namespace

void append(std::vector<double>& values, const at::Tensor& more) {
  const at::Tensor x = more.contiguous();
  values.insert(values.end(), x.const_data_ptr<double>(), x.const_data_ptr<double>() + x.numel());
}

at::Tensor kl_divergence_of(const at::Tensor& reference, const at::Tensor& output) {
  const at::Tensor p = reference.to(at::kDouble).log_softmax(1);
  const at::Tensor q = output.to(at::kDouble).log_softmax(1);
  return (p.exp() * (p - q)).sum(1).clamp_min(0);
}

bool is_classifier(const at::Tensor& output) { return output.dim() == 2 && output.size(1) >= 2; }

at::Tensor signal_to_noise(const at::Tensor& reference, const at::Tensor& output) {
  const at::Tensor expected = reference.reshape({reference.size(0), -1}).to(at::kDouble);
  const at::Tensor noise = squared_norms(output.to(at::kDouble) - reference.to(at::kDouble));
  const at::Tensor signal = (expected - expected.mean(1, true)).square().sum(1);
  return to_decibels(signal, noise);
}

void OutputNoise::add(const at::Tensor& reference, const at::Tensor& output) {
  if (!mean_.defined()) return;
  if (reference.sizes() != output.sizes()) throw Error("the outputs to compare differ in shape");
  const at::Tensor expected = reference.to(at::kDouble), deviation = expected - mean_;
  if (deviation.sizes() != expected.sizes()) {
    throw Error("the output '" + name_ + "' does not have the shape that its mean is for");
  }
  single_ = single_ && expected.numel() == expected.size(0);
  const at::Tensor signal = squared_norms(deviation);
  const at::Tensor constant = signal <= squared_norms(expected) * (kRounding * kRounding);
  append(signal_, signal.masked_fill(constant, 0));
  append(noise_, squared_norms(output.to(at::kDouble) - expected));
}

void OutputNoise::add(const nlohmann::json& state) {
  single_ = single_ && state.at("single").get<bool>();
  for (const double each : state.at("signal")) signal_.push_back(each);
  for (const double each : state.at("noise")) noise_.push_back(each);
  if (signal_.size() != noise_.size()) throw Error("signal and noise are of different images");
}

nlohmann::json OutputNoise::state() const {
  return {{"single", single_}, {"signal", signal_}, {"noise", noise_}};
}

std::optional<double> OutputNoise::decibels() const {
  if (noise_.empty()) return std::nullopt;
  at::Tensor signal = at::tensor(signal_, at::kDouble), noise = at::tensor(noise_, at::kDouble);
  if (single_) signal = signal.sum(0, true), noise = noise.sum(0, true);
  const at::Tensor decibels = to_decibels(signal, noise);
  std::vector<double> defined;
  append(defined, decibels.masked_select(decibels.isnan().logical_not()));
  if (defined.empty()) return std::nullopt;
  return mean(defined);
}

void Comparison::add(const at::Tensor& reference, const at::Tensor& output) {
  if (reference.sizes() != output.sizes()) throw Error("the outputs to compare differ in shape");
  images += output.size(0);
  if (is_classifier(output)) {
    agreeing += (output.argmax(1) == reference.argmax(1)).sum().item<int64_t>();
    append(kl_divergence, kl_divergence_of(reference, output));
  }
  const at::Tensor decibels = signal_to_noise(reference, output);
  append(snr_db_image, decibels.masked_select(decibels.isnan().logical_not()));
}

// Exact sums, as math.fsum's (Shewchuk 1997): those of parts that do not overlap, added to one by
// one. They do not depend on the order.
double mean(const std::vector<double>& sample) {
  std::vector<double> parts;
  for (double x : sample) {
    size_t kept = 0;
    for (double y : parts) {
      if (std::abs(x) < std::abs(y)) std::swap(x, y);
      const double high = x + y, low = y - (high - x);
      if (low != 0) parts[kept++] = low;
      x = high;
    }
    parts.resize(kept);
    parts.push_back(x);
  }
  return std::accumulate(parts.rbegin(), parts.rend(), 0.0) / static_cast<double>(sample.size());
}

double quantile(std::vector<double> sample, double q) {
  const auto rank = static_cast<ptrdiff_t>(std::ceil(q * static_cast<double>(sample.size()))) - 1;
  const auto at = sample.begin() + std::max<ptrdiff_t>(rank, 0);
  std::nth_element(sample.begin(), at, sample.end());
  return *at;
}

}  // namespace fmtc::infer
