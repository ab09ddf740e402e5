#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace fmtc::infer {

// Whether outputs [N, ...] are logits of classes.
bool is_classifier(const at::Tensor& output);

// 10 log10(|ref - mean(ref)|^2 / |out - ref|^2) of each image, with the mean of its own elements,
// at most 200 dB, as image_snr_db in fmtc/evaluation/snr.py: float64 [N]; NaN where the reference
// is constant and the output another.
at::Tensor signal_to_noise(const at::Tensor& reference, const at::Tensor& output);

// The signal-to-noise ratio of one output, as OutputNoise in fmtc/evaluation/snr.py: its signal is
// what deviates from a mean over other images.
class OutputNoise {
 public:
  // mean: float64, to be subtracted from one image's output; undefined where it is not known.
  OutputNoise(std::string name, at::Tensor mean) : name_(std::move(name)), mean_(std::move(mean)) {}

  // reference, output: [N, ...], one entry an image. Error where the mean does not fit them.
  void add(const at::Tensor& reference, const at::Tensor& output);

  // Takes in what was collected of other images, as state() gives it.
  void add(const nlohmann::json& state);
  nlohmann::json state() const;

  const std::string& name() const { return name_; }
  // Mean over the images; of one number an image, of the sums. Nothing where it is not defined.
  std::optional<double> decibels() const;

 private:
  std::string name_;
  at::Tensor mean_;
  bool single_ = true;
  std::vector<double> signal_, noise_;  // of each image
};

// KL(softmax reference || softmax output) of each image in nats: logits [N, classes] -> float64
// [N].
at::Tensor kl_divergence_of(const at::Tensor& reference, const at::Tensor& output);

// float64 [N] to the end of the values.
void append(std::vector<double>& values, const at::Tensor& more);

// How a network's outputs compare with those of a reference, image by image.
struct Comparison {
  int64_t images = 0;
  int64_t agreeing = 0;               // of a classifier: images with the same best class
  std::vector<double> kl_divergence;  // of a classifier: KL(reference || output) in nats
  std::vector<double> snr_db_image;   // with the mean of each image's own, where it is defined

  // output, reference: [N, ...], one entry an image. Error where their shapes differ.
  void add(const at::Tensor& reference, const at::Tensor& output);
  bool of_classifier() const { return !kl_divergence.empty(); }
};

// Of a sample that is not empty.
double mean(const std::vector<double>& sample);
// The value that a share q of the sorted sample is at most.
double quantile(std::vector<double> sample, double q);

}  // namespace fmtc::infer
