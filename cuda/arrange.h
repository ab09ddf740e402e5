#pragma once

#include <cstdint>

#include "core/positions.h"
#include "cuda/stream.h"

namespace fmtc::cuda {

// Images in the order of core/positions.h's arrangement; layout has classes, and its `positions`
// are not looked at, as each image has its own. All pointers are of the device and as aligned as
// what they point to; planes have fewer than 2^32 positions. What a map holds is never trusted.

// Where each cell of an image begins in its arranged planes, and how many positions each class
// has.
//   maps       [images, layout.map_size()]; what is no class counts as the last
//   places     written: [images, layout.map_size()]
//   positions  written: [images, layout.classes]
void count_positions(Stream stream, const uint8_t* maps, int64_t images, const Layout& layout,
                     uint32_t* places, int64_t* positions);

// The arrangements of images.
//   levels        [images, layout.levels()]
//   maps, places  as count_positions takes and gives them
//   values        written: [images, layout.values()]
void arrange(Stream stream, const int16_t* levels, const uint8_t* maps, const uint32_t* places,
             int64_t images, const Layout& layout, int16_t* values);

// The inverse. Images whose status is not 0 before or after get levels that are all 0.
//   values     [images, layout.values()]
//   positions  [images, layout.classes]
//   maps       written: [images, layout.map_size()], unspecified where the status is not 0
//   places     room for [images, layout.map_size()]
//   levels     written: [images, layout.levels()]
//   status     [images]: becomes kBadCode where it was 0 and the map holds other than classes, or
//              not as many positions of each as `positions` says
void restore(Stream stream, const int16_t* values, const int64_t* positions, int64_t images,
             const Layout& layout, uint8_t* maps, uint32_t* places, int16_t* levels,
             int32_t* status);

}  // namespace fmtc::cuda
