#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "codec/array.h"
#include "codec/dimensions.h"
#include "core/frequencies.h"
#include "core/predict.h"
#include "core/predict_sources.h"
#include "core/scaled.h"
#include "core/stream.h"

namespace fmtc::codec {

// The codec of one coding point as fmtc calibrates and saves it (fmtc/codec):
//   x -> blocks -> transform -> levels -> symbols -> stream, and back.
// N images, C channels; K components and planes of symbols >= K; blocks h x w x c.

using Plane = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

struct Block {
  int64_t h = 1;
  int64_t w = 1;
  int64_t c = 0;  // 0: all channels
};

// y = matrix * x + offset and back x = inverse * y + mean, of the n values of a block of one group
// of channels.
struct Transform {
  Plane matrix;            // [k, n]
  Eigen::VectorXf offset;  // [k]
  Plane inverse;           // [n, k]
  Eigen::VectorXf mean;    // [n]
};

struct Quantizer {
  float step = 1;
  int32_t lo = 0;
  int32_t hi = 0;
};

// Planes of levels that are frequencies of blocks of size x size positions (core/frequencies.h).
struct BlockFrequencies {
  int64_t size = 0;
  int64_t planes = 0;
  std::vector<int32_t> places;  // [components, size * size]
  std::vector<float> steps;     // [size * size]

  Frequencies view() const { return {size, planes, places, steps}; }
  int64_t components() const { return static_cast<int64_t>(places.size()) / (size * size); }
};

// The coder's tables with what they refer to; see ComponentTables.
struct Tables {
  Coder coder = Coder::kHuffman;
  int32_t lo = 0;
  uint16_t id = 0;
  std::vector<int64_t> table_of;  // [segments]
  size_t encode_width = 0;
  std::vector<uint32_t> encode_entries;
  size_t decode_width = 0;
  std::vector<uint32_t> decode_entries;
  std::vector<int64_t> base;
  uint32_t lane_values = 0;  // see make_header
};

// Levels of images of one size, and the rows and columns of block padding to cut off again.
struct Levels {
  std::vector<int64_t> shape;  // [N, K, H', W']
  std::vector<int16_t> values;
  uint8_t crop_h = 0;
  uint8_t crop_w = 0;
  int64_t clamped = 0;  // values that lie beyond the levels
};

struct TensorCodec {
  Dimensions dimensions;  // of tensors; those of planes are [N, C, H, W]
  int64_t channels = 0;
  Block block;
  std::vector<Transform> transforms;            // of each group of channels; none: the identity
  std::vector<Quantizer> quantizers;            // one of all components, or one of each
  std::optional<Scaled> scaled;                 // instead of these
  std::optional<BlockFrequencies> frequencies;  // the steps and places of these
  std::vector<PredictCoefficients> prediction;  // [K]
  uint32_t sources = 0;                         // that predict the components behind them
  std::vector<int16_t> cross;                   // [K, sources, 3, 3] (core/predict_sources.h)
  std::vector<int> shifts;                      // [K], low bits that have a plane of their own
  std::vector<int32_t> weights;                 // [planes], where positions have classes
  std::vector<int64_t> thresholds;              // [classes - 1]
  Tables tables;

  // Planes of levels: K, and those of scales; or those of frequencies.
  int64_t components() const { return static_cast<int64_t>(shifts.size()); }
  // Rows and columns of positions of blocks that a position of the levels stands for.
  int64_t size() const { return frequencies ? frequencies->size : 1; }
  // What it stands for in the tensor.
  Block tile() const { return {block.h * size(), block.w * size(), block.c}; }
  int64_t planes() const;
  int classes() const { return static_cast<int>(thresholds.size()) + 1; }
  // Whether its levels are all of 16 bits: no value was meant to be clamped.
  bool any_level() const;

  // Levels of x, floating-point planes [N, C, H, W]. The products are those of float32, whose sums
  // may be rounded in another order than elsewhere: a value within rounding of the middle between
  // two levels can get the other one. Error for other shapes, NaN and infinity.
  Levels quantize(const Array& x) const;
  // The planes F32 [N, C, H, W] that levels stand for.
  Array dequantize(const Levels& levels) const;

  // One stream for each image, back to back: the same bytes wherever the levels are the same.
  // Error where a level has no code.
  std::vector<uint8_t> encode(const Levels& levels) const;
  // Error for anything but streams of this codec and of one size, and for more than max_values
  // values of levels or of the tensor that they stand for. All headers are compared before anything
  // is allocated.
  Levels decode(std::span<const uint8_t> streams, uint64_t max_values) const;
};

}  // namespace fmtc::codec
