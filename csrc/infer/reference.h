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
  Reference(const std::string& path, uint64_t max_bytes);

  // The next images of the run; names on standard error those of another best class.
  void add(const std::vector<std::string>& names, const at::Tensor& output, const at::Tensor& used);
  // Prints how the run compares. Error where another compiler's rounding does not explain the
  // differences: another best class; outputs farther from the reference than the reference is from
  // the uncompressed network (on average, in decibels); streams longer or shorter by more than
  // kMostBytes of all bytes. Rounding moves few levels by one step, but what follows such a level
  // is quantised otherwise: outputs differ by some of the quantisation's own noise.
  void conclude() const;

  static constexpr double kMostBytes = 1e-3;

 private:
  std::string path_;
  at::Tensor output_, plain_;  // float32 [N, ...]
  at::Tensor used_;            // int64 [N, points]
  int64_t images_ = 0;         // of the run
  int64_t bytes_ = 0, other_bytes_ = 0;
  Comparison with_run_, with_plain_;
};

}  // namespace fmtc::infer
