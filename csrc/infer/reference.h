#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>
#include <vector>

#include "infer/comparison.h"

namespace fmtc::infer {

// What Python made of the same images (fmtc.export_reference), to check a run against.
class Reference {
 public:
  // Error where the file is no such reference.
  explicit Reference(const std::string& path);

  // The next images of the run; names on standard error those of another best class.
  void add(const std::vector<std::string>& names, const at::Tensor& output, const at::Tensor& used);
  // Prints how the run compares. Error where it differs by more than the rounding of two compilers
  // explains: another best class, an output below kLeastDecibels, streams longer or shorter by more
  // than kMostBytes of all bytes.
  void conclude() const;

  // Rounding moves about one level in 10^5 by one step, which changes an output far less than
  // quantisation does.
  static constexpr double kLeastDecibels = 30;
  static constexpr double kMostBytes = 1e-3;

 private:
  std::string path_;
  at::Tensor output_, used_;  // float32 [N, ...], int64 [N, points]
  int64_t images_ = 0;        // of the run
  int64_t bytes_ = 0, other_bytes_ = 0;
  Comparison comparison_;
};

}  // namespace fmtc::infer
