#pragma once

#include <cstdint>

namespace fmtc::cuda {

// A contiguous tensor [images, channels, plane].
struct Planes {
  int64_t images, channels, plane;
};

}  // namespace fmtc::cuda
