#pragma once

// What is wrong with images that are decoded, as each of their shares (cuda/chunks.h) tells of its
// chunks: the number of the first damaged one and 1 above a status, or 0 above that of the stream,
// so that what counts for an image is the least.
#include <cstdint>

#include "core/device.h"
#include "core/status.h"

namespace fmtc::cuda {

inline constexpr uint64_t kNoDamage = ~uint64_t{0};

FMTC_HD constexpr uint64_t damage_of_stream(Status status) { return static_cast<uint64_t>(status); }
FMTC_HD constexpr uint64_t damage_of_chunk(uint64_t chunk, Status status) {
  return (chunk + 1) << 8 | static_cast<uint64_t>(status);
}

struct Damage {
  const uint64_t* of_shares;  // device, [images, shares]
  int64_t shares;
};

}  // namespace fmtc::cuda
