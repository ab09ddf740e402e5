#include "ops/position_histogram.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <functional>
#include <mutex>
#include <vector>

#include "core/histogram.h"
#include "ops/arrange.h"
#include "ops/coding.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = kPositionHistogram;

// The pieces of an arrangement and the histogram that each belongs to.
struct Segments {
  Layout layout;
  std::span<const int64_t> groups;  // [layout.segments()]
  int32_t lo, hi;

  int64_t symbols() const { return int64_t{hi} - lo + 1; }

  // Adds what an arrangement holds, whose values lie within lo .. hi, to counts [groups, symbols].
  Status count(std::span<const int16_t> values, std::span<const int64_t> positions,
               std::span<int64_t> counts) const {
    size_t segment = 0;
    const auto add = [&](uint64_t size) {
      const auto part = values.first(static_cast<size_t>(size));
      values = values.subspan(part.size());
      return histogram(part, lo, hi, row(counts, groups[segment++], symbols()));
    };
    Status status = add(layout.map_size());
    for (uint32_t k = 0; k < layout.components; ++k) {
      for (const int64_t size : positions) {
        if (status == Status::kOk) status = add(static_cast<uint64_t>(size));
      }
    }
    return status;
  }
};

Tensor position_histogram(const Tensor& levels, const Tensor& classes, int64_t num_classes,
                          int64_t lo, int64_t hi, const Tensor& groups, int64_t num_groups) {
  check_position_histogram(levels, num_classes, lo, hi, groups, num_groups);
  const Tensor group_of = contiguous_of(groups);
  check_group_values(kOp, group_of, num_groups);
  const auto [arranged, positions] =
      arrange_images(kOp, contiguous_of(levels), classes, static_cast<int>(num_classes));
  const auto values_of_all = mutable_values<int16_t>(arranged);
  const auto positions_of_all = values<int64_t>(positions);
  const Segments segments{
      {static_cast<uint32_t>(levels.size(1)), static_cast<uint32_t>(levels.size(2)),
       static_cast<uint32_t>(levels.size(3)), static_cast<int>(num_classes)},
      values<int64_t>(group_of),
      static_cast<int32_t>(lo),
      static_cast<int32_t>(hi)};
  const Tensor counts = torch::stable::empty({num_groups, hi - lo + 1}, ScalarType::Long);
  const auto total = mutable_values<int64_t>(counts);
  std::fill(total.begin(), total.end(), 0);
  const auto size = static_cast<int64_t>(segments.layout.values());
  // Each thread counts for itself; that must be worth the adding up.
  const int64_t grain = std::max<int64_t>(kGrain, 4 * counts.numel()) / std::max<int64_t>(size, 1);
  std::mutex mutex;
  Failures failures;
  torch::stable::parallel_for(0, levels.size(0), grain + 1, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> local(total.size());
    for (int64_t n = begin; n < end; ++n) {
      const auto image = row(values_of_all, n, size);
      for (int16_t& value : image) {
        value = std::clamp(value, static_cast<int16_t>(lo), static_cast<int16_t>(hi));
      }
      failures.add(n, segments.count(image, row(positions_of_all, n, num_classes), local));
    }
    const std::lock_guard<std::mutex> lock(mutex);
    std::transform(local.begin(), local.end(), total.begin(), total.begin(), std::plus<>());
  });
  check_status(kOp, failures.status());
  return counts;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) {
  m.impl("position_histogram", TORCH_BOX(&position_histogram));
}

}  // namespace fmtc::ops
