#pragma once

// What the operators of whole coding points share: encode_point, decode_point and simulate_point
// take some images at a time through all stages, in memory of the thread that stays in its caches.
// The stages are those of the single operators, and give the same.
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/buffer.h"
#include "core/frequencies.h"
#include "core/positions.h"
#include "core/prediction.h"
#include "core/segment_counter.h"
#include "core/transform.h"
#include "ops/checks.h"
#include "ops/coding.h"

namespace fmtc::ops {

// The shape of the images on the outer side of a point: [channels, height, width] of each.
struct ImageShape {
  int64_t channels, height, width;

  int64_t plane() const { return height * width; }
  int64_t values() const { return channels * plane(); }
};

// A channel transform, as ops.transform_quantize and dequantize_transform take it, or none.
struct PointMatrix {
  Tensor matrix, offset;  // contiguous
  bool there = false;

  PointMatrix(const char* op, const std::optional<Tensor>& matrix,
              const std::optional<Tensor>& offset);
  ChannelMatrix view() const { return {values<float>(matrix), values<float>(offset)}; }
  int64_t rows() const { return matrix.size(0); }
  int64_t columns() const { return matrix.size(1); }
};

// A quantiser: one step, or a step for each frequency of blocks of positions.
struct PointQuantizer {
  Tensor places, steps;  // contiguous
  std::optional<Frequencies> frequencies;
  float step = 1;

  PointQuantizer(const char* op, const std::optional<Tensor>& places,
                 const std::optional<Tensor>& steps, int64_t planes, double step);
  // Rows and columns of positions that a position of the levels stands for.
  int64_t size() const { return frequencies ? frequencies->size : 1; }
};

// Levels to what is coded: predicted, and with low bits as planes of their own. Of what
// fmtc/codec/prediction.py is the description.
class PointSymbols {
 public:
  // coefficients int16 [P, 3 + 9 * sources], shifts int64 [P]; planes: P and those of low bits.
  PointSymbols(const char* op, const Tensor& coefficients, const Tensor& shifts, int64_t planes);

  int64_t levels() const { return static_cast<int64_t>(shifts_.size()); }  // P
  int64_t planes() const { return levels() + static_cast<int64_t>(split_.size()); }

  // Symbols [images, planes, height, width] of levels [images, P, height, width]: in `space`, or
  // the levels themselves. May throw std::bad_alloc.
  Status symbols_of(std::span<const int16_t> levels, int64_t images, uint32_t height,
                    uint32_t width, Buffer<int16_t>& space, std::span<const int16_t>& symbols,
                    const ForEach& for_each) const;
  // The way back, likewise.
  Status levels_of(std::span<const int16_t> symbols, int64_t images, uint32_t height,
                   uint32_t width, Buffer<int16_t>& space, std::span<const int16_t>& levels,
                   const ForEach& for_each) const;

 private:
  Tensor coefficients_;
  Prediction prediction_;
  std::vector<int> shifts_;
  std::vector<int64_t> split_;  // the planes with low bits apart
};

// Classes of positions, or none.
struct PointClasses {
  Tensor weights, thresholds;  // contiguous
  int classes = 1;

  PointClasses(const char* op, const std::optional<Tensor>& weights,
               const std::optional<Tensor>& thresholds, int64_t planes);
};

// What is counted of symbols: nothing without groups.
struct PointCounts {
  Tensor groups;  // int64 [segments], contiguous
  int64_t num_groups = 0, num_symbols = 0, from = 0;
  bool there = false;

  PointCounts(const char* op, const std::optional<Tensor>& groups, int64_t num_groups, int64_t from,
              int64_t num_symbols, int64_t segments);
  std::optional<SegmentCounter> counter() const;
  // Zeros, i64 [num_groups, num_symbols], or [0, 0].
  Tensor zeros() const;
};

// The channels outside of a point whose levels have P planes: the columns of a forward transform,
// the rows of one back (`back`), or what the quantiser has. Checks that all fit together.
int64_t point_channels(const char* op, const PointMatrix& matrix, bool back,
                       const PointQuantizer& quantizer, int64_t levels);
// The same of a forward transform, for x with so many channels; returns quantizer.size().
int64_t check_point_shapes(const char* op, int64_t channels, const PointMatrix& matrix,
                           const PointQuantizer& quantizer, int64_t levels);

// Memory of a thread for the stages.
struct PointSpace {
  Buffer<float> components;
  Buffer<int16_t> levels, symbols, arranged;
  Buffer<int64_t> activity;
  Buffer<uint8_t> map;
};
PointSpace& point_space();

// Levels of images x, and how many were clamped.
Status quantize_images(std::span<const float> x, int64_t images, const ImageShape& shape,
                       const PointMatrix& matrix, const PointQuantizer& quantizer, int64_t lo,
                       int64_t hi, std::span<int16_t> levels, int64_t& clamped,
                       const ForEach& for_each);
// The images x of this shape that levels stand for.
Status dequantize_images(std::span<const int16_t> levels, int64_t images, const ImageShape& shape,
                         const PointMatrix& matrix, const PointQuantizer& quantizer, float least,
                         float most, std::span<float> x, const ForEach& for_each);

// The arrangements of images, whose headers get the numbers of positions; without classes the
// symbols themselves.
//   layouts  [images], of which positions are written
Status arrange_symbols(const PointClasses& classes, std::span<const int16_t> symbols,
                       std::span<Layout> layouts, PointSpace& space,
                       std::span<const int16_t>& arranged, const ForEach& for_each);

// Images that go through the stages together, of so many values each: as many as a cache holds.
int64_t images_together(int64_t images, int64_t values);

// Calls body(first, images) for groups of images, on torch's threads, and returns the first
// failure. body may throw std::bad_alloc.
Status for_image_groups(int64_t images, int64_t together,
                        const std::function<Status(int64_t, int64_t)>& body);

// x as contiguous float32.
Tensor float_images(const char* op, const Tensor& x);

}  // namespace fmtc::ops
