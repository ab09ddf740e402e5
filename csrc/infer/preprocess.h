#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "infer/image.h"

namespace fmtc::infer {

// uint8 [C, H, W] of an image.
at::Tensor to_tensor(const Image& image);

// From a decoded image to a network's input, by the description in fmtc/data/preprocess.py:
// "resize=256,crop=224,mean=0.5,std=0.5,hflip,vflip,grey". Resizing is torch's own, so that the
// numbers are those of Python.
class Preprocess {
 public:
  // Error names a step that is not understood. max_pixels: of what resizing makes, at most.
  Preprocess(const std::string& text, int64_t max_pixels);

  // image: uint8 [C, H, W]. float32 [C, H', W']. Error where the image is too small to crop or
  // would become too large, or mean and std are for another number of channels.
  at::Tensor operator()(const at::Tensor& image) const;

  // As which an image file is to be decoded for a network of so many: RGB, where grey is made here.
  int decoded_channels(int64_t network) const { return grey_ ? 3 : static_cast<int>(network); }

 private:
  using Step = std::function<at::Tensor(const at::Tensor&)>;  // of uint8 [C, H, W]

  std::vector<Step> geometry_;
  bool grey_ = false;
  std::vector<float> mean_ = {0};
  std::vector<float> std_ = {1};
};

}  // namespace fmtc::infer
