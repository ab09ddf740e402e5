#include "ops/cuda/arrange.h"

#include <limits>
#include <tuple>

#include "cuda/arrange.h"

namespace fmtc::ops {
namespace {

std::tuple<Tensor, Tensor> arrange(const Tensor& levels, const Tensor& classes,
                                   int64_t num_classes) {
  check_arrange(levels, classes, num_classes);
  const OnDevice device(kArrange, levels, {{"classes", classes}});
  const auto [values, positions] = arrange_on_device(
      kArrange, device, torch::stable::contiguous(levels), classes, static_cast<int>(num_classes));
  device.check();
  return {values, positions};
}

}  // namespace

Arranged arrange_on_device(const char* op, const OnDevice& device, const Tensor& levels,
                           const Tensor& maps, int classes) {
  const Layout layout = check_maps(op, levels, maps, classes);
  STD_TORCH_CHECK(layout.plane() <= std::numeric_limits<uint32_t>::max(), "fmtc::", op,
                  ": on CUDA planes must have fewer than 2^32 values, but the shape of levels is ",
                  shape_text(levels));
  const Tensor classes_of_cells = torch::stable::contiguous(maps);
  const int64_t images = levels.size(0);
  const Tensor space =
      device.empty({static_cast<int64_t>(cuda::arrange_space(images, layout))}, ScalarType::Byte);
  const Arranged result = {
      device.empty({images, static_cast<int64_t>(layout.values())}, ScalarType::Short),
      device.empty({images, classes}, ScalarType::Long)};
  cuda::arrange(device.stream(), levels.const_data_ptr<int16_t>(),
                classes_of_cells.const_data_ptr<uint8_t>(), images, layout,
                space.mutable_data_ptr<uint8_t>(), result.values.mutable_data_ptr<int16_t>(),
                result.positions.mutable_data_ptr<int64_t>());
  return result;
}

STABLE_TORCH_LIBRARY_IMPL(FMTC_LIBRARY, FMTC_KEY, m) { m.impl("arrange", TORCH_BOX(&arrange)); }

}  // namespace fmtc::ops
