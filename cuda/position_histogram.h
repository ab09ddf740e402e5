#pragma once

#include <cstdint>

#include "core/positions.h"
#include "cuda/histogram.h"

namespace fmtc::cuda {

// How often each value occurs in each group of segments of the arrangements of images: of the map,
// and of each class of each component. Values beyond lo .. hi count as the nearest one.
//   levels  device, [images, layout.levels()]
//   maps    device, [images, layout.map_size()]; what is no class counts as the last
void position_histogram(Stream stream, const int16_t* levels, const uint8_t* maps, int64_t images,
                        const Layout& layout, const Histograms& histograms);

}  // namespace fmtc::cuda
