#include "ops/histogram.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "core/histogram.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = kHistogram;

// Levels [N, K, ...] seen as planes [N * K, plane].
struct Planes {
  std::span<const int16_t> levels;
  int64_t count, components, plane;

  std::span<const int16_t> operator[](int64_t index) const { return row(levels, index, plane); }
};

Planes planes_of(const Tensor& levels) {
  const int64_t count = levels.size(0) * levels.size(1);
  return {values<int16_t>(levels), count, levels.size(1), count == 0 ? 0 : levels.numel() / count};
}

[[noreturn]] void throw_outside(const Planes& planes, int64_t index, int64_t lo, int64_t hi) {
  const auto plane = planes[index];
  const int16_t level =
      *std::find_if(plane.begin(), plane.end(), [lo, hi](int16_t l) { return l < lo || l > hi; });
  STD_TORCH_CHECK(false, "fmtc::histogram: levels must be from lo = ", lo, " to hi = ", hi,
                  ", but component ", index % planes.components, " of image ",
                  index / planes.components, " holds ", level);
}

Tensor histogram(const Tensor& levels, int64_t lo, int64_t hi, const Tensor& groups,
                 int64_t num_groups) {
  check_histogram(levels, lo, hi, groups, num_groups);
  const Tensor group_of = contiguous_of(groups);
  check_group_values(kOp, group_of, num_groups);
  const Tensor input = contiguous_of(levels);
  const Planes planes = planes_of(input);
  const int64_t symbols = hi - lo + 1;
  const Tensor counts = torch::stable::empty({num_groups, symbols}, ScalarType::Long);
  const auto total = mutable_values<int64_t>(counts);
  std::fill(total.begin(), total.end(), 0);

  // Each thread counts for itself; that must be worth the adding up. Sums of integers do not
  // depend on their order.
  const int64_t values_of_worth = std::max<int64_t>(kGrain, 4 * counts.numel());
  const int64_t grain = values_of_worth / std::max<int64_t>(planes.plane, 1) + 1;
  std::mutex mutex;
  Failures failures;
  torch::stable::parallel_for(0, planes.count, grain, [&](int64_t begin, int64_t end) {
    std::vector<int64_t> local(total.size());
    for (int64_t i = begin; i < end; ++i) {
      const int64_t group = group_of.const_data_ptr<int64_t>()[i % planes.components];
      failures.add(i, fmtc::histogram(planes[i], static_cast<int32_t>(lo), static_cast<int32_t>(hi),
                                      row(std::span(local), group, symbols)));
    }
    const std::lock_guard<std::mutex> lock(mutex);
    std::transform(local.begin(), local.end(), total.begin(), total.begin(), std::plus<>());
  });
  if (failures.status() == Status::kOutOfRange) throw_outside(planes, failures.task(), lo, hi);
  check_status(kOp, failures.status());
  return counts;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("histogram", TORCH_BOX(&histogram)); }

}  // namespace fmtc::ops
