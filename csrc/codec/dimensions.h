#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "codec/array.h"

namespace fmtc::codec {

// Where the channels of a codec's tensors are, whose first dimension is images; all others are
// positions. The codec itself works on planes [N, C, H, W] (fmtc/planes.py): W is the last
// dimension of positions, H all others together, and what there is none of is 1.
struct Dimensions {
  static constexpr int64_t kMost = 8;  // of a tensor, as in Python

  int64_t rank = 4;
  int64_t channels = 1;  // which dimension they are

  bool usual() const { return rank == 4 && channels == 1; }

  // "[N, *, *, 8]"
  std::string text(int64_t channel_count) const;
  // The planes of a tensor of any type. Error for one of another rank or number of channels.
  Array planes(const Array& x, int64_t channel_count) const;
  // Error where `shape` is empty and the planes of a tensor do not tell it.
  void require_shape(const std::vector<int64_t>& shape) const;
  // The tensor of planes. shape: the tensor's, or empty where the planes tell. Error where it is
  // another one's, or missing.
  Array restored(const Array& planes, const std::vector<int64_t>& shape) const;

 private:
  std::vector<int64_t> planes_shape(std::span<const int64_t> shape) const;
  std::vector<int64_t> shape_of(std::span<const int64_t> planes) const;
};

}  // namespace fmtc::codec
