#pragma once

#include "ops/arrange.h"
#include "ops/cuda/device.h"

namespace fmtc::ops {

// arrange_images of ops/arrange.h on CUDA tensors; what is no class counts as the last.
Arranged arrange_on_device(const char* op, const OnDevice& device, const Tensor& levels,
                           const Tensor& maps, int classes);

}  // namespace fmtc::ops
