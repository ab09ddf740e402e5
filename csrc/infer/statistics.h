#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "infer/description.h"
#include "infer/measures.h"
#include "infer/timing.h"

namespace fmtc::infer {

// What a run has counted and measured.
class Statistics {
 public:
  explicit Statistics(const Description& package);

  std::vector<std::string> skipped;  // images that could not be read
  Times times;
  double seconds = 0;  // in the compressed network, in one run of each image

  // used: int64 [N, points], bytes of the streams of N more images.
  void count(const at::Tensor& used);
  // plain, coded: outputs of the two networks for the same images, so many of which count (a batch
  // may have been filled up).
  void compare(const std::vector<at::Tensor>& plain, const std::vector<at::Tensor>& coded,
               int64_t images);
  int64_t images() const { return images_; }

  // Standard output, for people.
  void print() const;
  // A document of the schema fmtc.result/3 (fmtc/results/schemas/result-3.json). command: what was
  // run; path: where the images are.
  nlohmann::json result(const std::string& command, const std::string& path) const;

 private:
  double bytes_written() const;
  double bytes_read() const;
  double bits_per_value() const;
  double joules_per_image() const;
  nlohmann::json point() const;

  const Description& package_;
  int64_t images_ = 0;
  std::vector<int64_t> written_;  // bytes, at each coding point
  Measures measures_;
};

}  // namespace fmtc::infer
