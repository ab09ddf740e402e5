#pragma once

#include <ATen/core/Tensor.h>

#include <nlohmann/json.hpp>
#include <vector>

#include "infer/measures.h"
#include "infer/package.h"
#include "infer/timing.h"

namespace fmtc::infer {

// What is measured of one compressed network: a point of the result schema in the making.
class EvaluatedPoint {
 public:
  explicit EvaluatedPoint(const Description& description);

  // One batch. plain: the uncompressed network's outputs, and the seconds it took; labels: int64
  // [N], or undefined; total: seconds in the compressed network, coder: of it in the operators of
  // the coders, where that is known.
  void add(const Coded& coded, const std::vector<at::Tensor>& plain, const at::Tensor& labels);
  void add_seconds(double total, const CoderSeconds* coder, double plain, int64_t images);

  // Takes in what was measured of other images, as state() gives it. at_once: at the same time.
  void add(const nlohmann::json& state, bool at_once);
  nlohmann::json state() const;

  const Description& description() const { return description_; }
  double seconds() const { return seconds_; }
  int64_t images() const { return measures_.images(); }
  // As the schema has it. Error without images.
  nlohmann::json result() const;

 private:
  double joules(const std::vector<Bits>& bits, size_t rate) const;

  Description description_;
  Measures measures_;
  std::vector<LayerCounts> counts_;  // of each coding point
  Times times_;
  double seconds_ = 0;
};

}  // namespace fmtc::infer
