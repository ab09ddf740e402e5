#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <vector>

namespace fmtc::infer {

// Kinds of rate, as in fmtc/results/result.py; the last is that of the bytes that were made.
inline constexpr std::array<const char*, 5> kRates = {"entropy", "entropy_classes", "cross_entropy",
                                                      "huffman", "stream"};

// Bits by kind of rate.
using Bits = std::array<double, kRates.size()>;

// What has passed a coding point.
struct LayerCounts {
  at::Tensor histogram;  // int64 [classes, L] of the coded symbols; undefined for a plain layer
  int64_t clamped = 0;   // values beyond the levels
  int64_t bytes = 0;     // of the streams

  // Those of other images. Error where the histograms differ in shape.
  void add(const LayerCounts& other);

  nlohmann::json state() const;
  static LayerCounts of(const nlohmann::json& state);
};

// How the symbols that a coding point has counted become bits, as _bits in fmtc/model/report.py.
class LayerRates {
 public:
  // From what a package's metadata says of it ("counted"). Exceptions of nlohmann::json, and Error
  // where tables differ in size.
  explicit LayerRates(const nlohmann::json& counted);

  bool coded() const { return !kind_of_class_.empty(); }
  // Of so many values, all that was counted. Error where the histogram does not fit the tables.
  Bits bits(const LayerCounts& counts, int64_t values) const;

 private:
  double entropy_bits(const at::Tensor& counts) const;

  double plain_bits_ = 0;                                          // of a value that is not coded
  std::vector<int64_t> kind_of_class_, table_of_class_;            // of rows of the histogram
  std::vector<std::vector<double>> cross_entropy_, huffman_bits_;  // [tables][L]
};

}  // namespace fmtc::infer
