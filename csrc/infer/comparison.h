#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace fmtc::infer {

// Whether outputs [N, ...] are logits of classes.
bool is_classifier(const at::Tensor& output);

// 10 log10(|ref - mean(ref)|^2 / |out - ref|^2) of each image, at most 200 dB, as in
// fmtc/evaluation/evaluate.py: float64 [N]; NaN where the reference is constant and the output
// another.
at::Tensor signal_to_noise(const at::Tensor& reference, const at::Tensor& output);

// How a network's outputs compare with those of a reference, image by image.
struct Comparison {
  int64_t images = 0;
  int64_t agreeing = 0;               // of a classifier: images with the same best class
  std::vector<double> kl_divergence;  // of a classifier: KL(reference || output) in nats
  std::vector<double> snr_db;         // where it is defined

  // output, reference: [N, ...], one entry an image. Error where their shapes differ.
  void add(const at::Tensor& reference, const at::Tensor& output);
  bool of_classifier() const { return !kl_divergence.empty(); }
};

// Of a sample that is not empty.
double mean(const std::vector<double>& sample);
// The value that a share q of the sorted sample is at most.
double quantile(std::vector<double> sample, double q);

}  // namespace fmtc::infer
