#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

#include "infer/comparison.h"
#include "infer/description.h"

namespace fmtc::infer {

// 95 % Wilson score interval [low, high] of a proportion (Wilson 1927).
std::pair<double, double> wilson_interval(int64_t successes, int64_t trials);

// 95 % percentile interval [low, high] of a mean over images, drawn anew (Efron 1979): the very
// draws of fmtc/evaluation/measures.py, whatever the order of the images is.
std::pair<double, double> bootstrap_interval(std::vector<double> figures);

// Of a classifier's outputs, how many have the label as their best class, or among the five best
// where there are more than five classes.
struct Accuracy {
  int64_t images = 0, top1 = 0;
  int64_t images_of_five = 0, top5 = 0;

  // output: [N, classes]; labels: int64 [N]. Error for a label that the output has no class for.
  void add(const at::Tensor& output, const at::Tensor& labels);
  void add(const nlohmann::json& state);
  nlohmann::json state() const;

  nlohmann::json top1_share() const;  // null where there were no labels
  nlohmann::json top5_share() const;
};

// What a network's outputs are worth beside the uncompressed network's, as Measures in
// fmtc/evaluation/measures.py.
class Measures {
 public:
  explicit Measures(const Description& description);

  // One batch of outputs and the uncompressed network's, all of them, [N, ...] each. labels: int64
  // [N], or undefined. Error where they differ in shape or are not finite.
  void add(const std::vector<at::Tensor>& outputs, const std::vector<at::Tensor>& references,
           const at::Tensor& labels = {});
  // Takes in what was measured of other images, as state() gives it.
  void add(const nlohmann::json& state);
  nlohmann::json state() const;

  int64_t images() const { return images_; }
  int64_t agreeing() const { return agreeing_; }
  bool of_classifier() const { return !kl_.empty(); }
  std::optional<double> worst_decibels() const;

  // The entries of a point of the result schema; null for what could not be measured.
  nlohmann::json summary() const;

 private:
  size_t shown_;  // the output whose classes count
  std::vector<size_t> indices_;
  std::vector<OutputNoise> noise_;  // of each that is measured
  int64_t images_ = 0, agreeing_ = 0;
  Accuracy accuracy_;
  std::vector<double> kl_, snr_db_image_;
};

}  // namespace fmtc::infer
