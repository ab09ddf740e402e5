#pragma once

#include <cstddef>
#include <cstdint>

#include "core/positions.h"
#include "cuda/damage.h"
#include "cuda/stream.h"

namespace fmtc::cuda {

// Images in the order of core/positions.h's arrangement; layout has classes, and its `positions`
// are not looked at, as each image has its own. All pointers are of the device and as aligned as
// what they point to; planes have fewer than 2^32 positions. What a map holds is never trusted.

// The arrangements of images.
//   levels     [images, layout.levels()]
//   maps       [images, layout.map_size()]; what is no class counts as the last
//   space      arrange_space(images, layout) bytes, aligned to 4
//   values     written: [images, layout.values()]
//   positions  written: [images, layout.classes], how many each class has
size_t arrange_space(int64_t images, const Layout& layout);
void arrange(Stream stream, const int16_t* levels, const uint8_t* maps, int64_t images,
             const Layout& layout, uint8_t* space, int16_t* values, int64_t* positions);

// The inverse. Images whose status is not 0 get levels that are all 0.
//   values     [images, layout.values()]
//   positions  [images, layout.classes]
//   damage     what is known to be wrong with images
//   space      restore_space(images, layout) bytes, aligned to 4
//   levels     written: [images, layout.levels()]
//   status     written: [images]: of `damage`; kBadCode where nothing else is wrong, but the map
//              holds other than classes, or not as many positions of each as `positions` says
size_t restore_space(int64_t images, const Layout& layout);
void restore(Stream stream, const int16_t* values, const int64_t* positions, const Damage& damage,
             int64_t images, const Layout& layout, uint8_t* space, int16_t* levels,
             int32_t* status);

}  // namespace fmtc::cuda
