#include "infer/rates.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "core/entropy.h"
#include "infer/image.h"

namespace fmtc::infer {
namespace {

using nlohmann::json;

std::span<const int64_t> row(const at::Tensor& counts, int64_t index) {
  const auto size = static_cast<size_t>(counts.size(1));
  return {counts.const_data_ptr<int64_t>() + index * counts.size(1), size};
}

// Rows of a histogram that belong together, added up: int64 [groups, L].
at::Tensor grouped(const at::Tensor& histogram, const std::vector<int64_t>& group_of) {
  const int64_t groups = *std::ranges::max_element(group_of) + 1;
  const at::Tensor index = at::tensor(group_of, at::kLong);
  return at::zeros({groups, histogram.size(1)}, at::kLong).index_add_(0, index, histogram);
}

double weighted(std::span<const int64_t> counts, const std::vector<double>& bits) {
  double sum = 0;
  for (size_t i = 0; i < counts.size(); ++i) sum += static_cast<double>(counts[i]) * bits[i];
  return sum;
}

}  // namespace

void LayerCounts::add(const LayerCounts& other) {
  if (other.histogram.defined()) {
    if (!histogram.defined()) {
      histogram = other.histogram.clone();
    } else if (histogram.sizes() == other.histogram.sizes()) {
      histogram.add_(other.histogram);
    } else {
      throw Error("histograms differ in shape");
    }
  }
  clamped += other.clamped;
  bytes += other.bytes;
}

json LayerCounts::state() const {
  json rows = json::array();
  for (int64_t i = 0; histogram.defined() && i < histogram.size(0); ++i) {
    const auto counts = row(histogram, i);
    rows.push_back(std::vector<int64_t>(counts.begin(), counts.end()));
  }
  return {{"histogram", rows}, {"clamped", clamped}, {"bytes", bytes}};
}

LayerCounts LayerCounts::of(const json& state) {
  const auto rows = state.at("histogram").get<std::vector<std::vector<int64_t>>>();
  LayerCounts counts{{}, state.at("clamped"), state.at("bytes")};
  std::vector<int64_t> all;
  for (const auto& each : rows) {
    if (each.size() != rows.front().size()) throw Error("a histogram's rows differ in size");
    all.insert(all.end(), each.begin(), each.end());
  }
  if (!rows.empty()) {
    counts.histogram = at::tensor(all, at::kLong).view({static_cast<int64_t>(rows.size()), -1});
  }
  return counts;
}

LayerRates::LayerRates(const json& counted) {
  if (counted.contains("plain_bits")) {
    plain_bits_ = counted.at("plain_bits");
    return;
  }
  kind_of_class_ = counted.at("kind_of_class").get<std::vector<int64_t>>();
  table_of_class_ = counted.at("table_of_class").get<std::vector<int64_t>>();
  cross_entropy_ = counted.at("cross_entropy_bits").get<std::vector<std::vector<double>>>();
  huffman_bits_ = counted.at("huffman_bits").get<std::vector<std::vector<double>>>();
  const auto tables = static_cast<int64_t>(cross_entropy_.size());
  const auto classes = static_cast<int64_t>(kind_of_class_.size());
  const auto below = [](const std::vector<int64_t>& of, int64_t most) {
    return std::ranges::all_of(of, [&](int64_t i) { return 0 <= i && i < most; });
  };
  const auto alike = [&](const auto& rows) {
    return std::ranges::all_of(
        rows, [&](const auto& each) { return each.size() == cross_entropy_.front().size(); });
  };
  if (tables == 0 || classes == 0 || table_of_class_.size() != kind_of_class_.size() ||
      cross_entropy_.size() != huffman_bits_.size() || !below(table_of_class_, tables) ||
      !below(kind_of_class_, classes) || !alike(cross_entropy_) || !alike(huffman_bits_)) {
    throw Error("its tables do not fit together");
  }
}

double LayerRates::entropy_bits(const at::Tensor& counts) const {
  double bits = 0;
  for (int64_t i = 0; i < counts.size(0); ++i) {
    const auto of = row(counts, i);
    double total = 0;
    for (const int64_t count : of) total += static_cast<double>(count);
    bits += entropy(of) * total;
  }
  return bits;
}

Bits LayerRates::bits(const LayerCounts& counts, int64_t values) const {
  const double stream = 8 * static_cast<double>(counts.bytes);
  if (!coded()) {
    const double plain = plain_bits_ * static_cast<double>(values);
    return {plain, plain, plain, plain, stream};
  }
  const at::Tensor& histogram = counts.histogram;
  if (!histogram.defined() || histogram.dim() != 2 ||
      histogram.size(0) != static_cast<int64_t>(kind_of_class_.size()) ||
      histogram.size(1) != static_cast<int64_t>(cross_entropy_.front().size())) {
    throw Error("a histogram does not fit the tables of its layer");
  }
  double cross_entropy = 0, huffman = 0;
  const at::Tensor by_table = grouped(histogram, table_of_class_);
  for (int64_t table = 0; table < by_table.size(0); ++table) {
    cross_entropy += weighted(row(by_table, table), cross_entropy_[static_cast<size_t>(table)]);
    huffman += weighted(row(by_table, table), huffman_bits_[static_cast<size_t>(table)]);
  }
  return {entropy_bits(grouped(histogram, kind_of_class_)), entropy_bits(histogram), cross_entropy,
          huffman, stream};
}

}  // namespace fmtc::infer
