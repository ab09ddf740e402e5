#pragma once

#include "cuda/kernel.h"
#include "cuda/planes.h"

namespace fmtc::cuda {

// Pieces of planes that warps work on, at most so long.
inline constexpr int64_t kPiece = 2048;

// Calls body(first value, count) with all threads of a warp for the pieces of one channel that
// are its share, if the warps of `parts` thread blocks share them; this one is number `part`.
template <typename T, typename Body>
FMTC_DEVICE void for_each_piece(const Thread& thread, const T* values, const Planes& planes,
                                int64_t channel, int64_t part, int64_t parts, const Body& body) {
  const int64_t warps = thread.size() / kWarpSize;
  const int64_t pieces = (planes.plane + kPiece - 1) / kPiece;
  for (int64_t i = part * warps + thread.warp(); i < planes.images * pieces; i += parts * warps) {
    const int64_t image = i / pieces, first = i % pieces * kPiece;
    const int64_t left = planes.plane - first;
    body(values + (image * planes.channels + channel) * planes.plane + first,
         static_cast<uint32_t>(left < kPiece ? left : kPiece));
  }
}

// Into how many parts to cut the values of each channel, which warps work on, so that there is
// enough to do for any device, but each part is worth at least `worth` values.
inline int64_t parts_of(const Planes& planes, int64_t worth) {
  constexpr int64_t kThreadBlocks = 2048;
  const int64_t most = planes.images * planes.plane / worth + 1;
  const int64_t enough = kThreadBlocks / (planes.channels > 0 ? planes.channels : 1) + 1;
  return most < enough ? most : enough;
}

}  // namespace fmtc::cuda
