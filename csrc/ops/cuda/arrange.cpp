// What is no class, for which the CPU operator raises, counts as the last.
#include "arrange.h"

#include <limits>
#include <tuple>

#include "ops/arrange.h"
#include "ops/cuda/device.h"

namespace fmtc::ops {
namespace {

std::tuple<Tensor, Tensor> arrange(const Tensor& levels, const Tensor& classes,
                                   int64_t num_classes) {
  const Layout layout = check_arrange(levels, classes, num_classes);
  STD_TORCH_CHECK(layout.plane() <= std::numeric_limits<uint32_t>::max(),
                  "fmtc::arrange: on CUDA planes must have fewer than 2^32 values, but the shape ",
                  "of levels is ", shape_text(levels));
  const OnDevice device(kArrange, levels, {{"classes", classes}});
  const Tensor input = torch::stable::contiguous(levels);
  const Tensor maps = torch::stable::contiguous(classes);
  const int64_t images = levels.size(0);
  const Tensor places = device.empty(maps.sizes(), ScalarType::Int);
  const Tensor positions = device.empty({images, num_classes}, ScalarType::Long);
  const Tensor values =
      device.empty({images, static_cast<int64_t>(layout.values())}, ScalarType::Short);
  auto* const places_data = reinterpret_cast<uint32_t*>(places.mutable_data_ptr<int32_t>());
  cuda::count_positions(device.stream(), maps.const_data_ptr<uint8_t>(), images, layout,
                        places_data, positions.mutable_data_ptr<int64_t>());
  cuda::arrange(device.stream(), input.const_data_ptr<int16_t>(), maps.const_data_ptr<uint8_t>(),
                places_data, images, layout, values.mutable_data_ptr<int16_t>());
  device.check();
  return {values, positions};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(FMTC_LIBRARY, FMTC_KEY, m) { m.impl("arrange", TORCH_BOX(&arrange)); }

}  // namespace fmtc::ops
