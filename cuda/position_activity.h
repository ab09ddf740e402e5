#pragma once

#include <cstdint>

#include "core/positions.h"
#include "cuda/stream.h"

namespace fmtc::cuda {

// What goes on in each cell of images, as core/positions.h defines it.
//   levels    device, [images, layout.levels()]
//   weights   device, [layout.components], up to kMaxWeighted; beyond 0 .. kMaxWeight they count as
//             the nearest of these
//   activity  device, written: [images, layout.map_size()]; layout has classes
void position_activity(Stream stream, const int16_t* levels, int64_t images, const Layout& layout,
                       const int32_t* weights, int64_t* activity);

}  // namespace fmtc::cuda
