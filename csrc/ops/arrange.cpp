#include "ops/arrange.h"

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <array>
#include <tuple>

#include "ops/coding.h"
#include "ops/memory.h"
#include "ops/parallel.h"

namespace fmtc::ops {
namespace {

std::tuple<Tensor, Tensor> arrange_levels(const Tensor& levels, const Tensor& classes,
                                          int64_t num_classes) {
  check_arrange(levels, classes, num_classes);
  const Tensor input = contiguous_of(levels);
  const auto [values, positions] =
      arrange_images(kArrange, input, classes, static_cast<int>(num_classes));
  return {values, positions};
}

}  // namespace

Arranged arrange_images(const char* op, const Tensor& levels, const Tensor& maps, int classes) {
  const Layout layout = check_maps(op, levels, maps, classes);
  const Tensor classes_of_cells = contiguous_of(maps);
  const auto size = static_cast<int64_t>(layout.values());
  const Arranged result = {empty(std::array<int64_t, 2>{levels.size(0), size}, ScalarType::Short),
                           torch::stable::empty({levels.size(0), classes}, ScalarType::Long)};
  Failures failures;
  for_each_task(levels.size(0), failures, [&](int64_t n) {
    const auto map =
        row(values<uint8_t>(classes_of_cells), n, static_cast<int64_t>(layout.map_size()));
    Layout counted = layout;
    if (const Status status = count_positions(map, counted); status != Status::kOk) return status;
    std::copy_n(counted.positions.begin(), classes,
                row(mutable_values<int64_t>(result.positions), n, classes).begin());
    return arrange(row(values<int16_t>(levels), n, static_cast<int64_t>(layout.levels())), map,
                   counted, row(mutable_values<int16_t>(result.values), n, size));
  });
  STD_TORCH_CHECK(failures.status() != Status::kOutOfRange, "fmtc::", op,
                  ": classes must be from 0 to ", classes - 1, ", but those of image ",
                  failures.task(), " are not");
  check_status(op, failures.status());
  return result;
}

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("arrange", TORCH_BOX(&arrange_levels)); }

}  // namespace fmtc::ops
