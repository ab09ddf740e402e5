#pragma once

#include "core/crc32c.h"
#include "cuda/kernel.h"

namespace fmtc::cuda {

// Numbers in shared memory that checksum_by_all needs.
template <uint32_t kThreads>
inline constexpr size_t kChecksumSpace = 256 + kThreads / kWarpSize;

// CRC-32C by all threads of a thread block, each of which takes a part of the bytes; the same in
// all.
//   bytes   device or shared;  shared: kChecksumSpace<its threads>
FMTC_DEVICE inline uint32_t checksum_by_all(const Thread& thread, const uint8_t* bytes,
                                            uint64_t size, uint32_t* shared) {
  uint32_t* table = shared;
  uint32_t* of_warps = shared + 256;
  thread.sync();  // a call before may still be reading
  for (uint32_t i = thread.rank(); i < 256; i += thread.size()) table[i] = crc::table_entry(i);
  thread.sync();
  const uint64_t part = (size + thread.size() - 1) / thread.size();
  const uint64_t begin = part * thread.rank() < size ? part * thread.rank() : size;
  const uint64_t end = begin + part < size ? begin + part : size;
  uint32_t crc = 0;
  if (begin < end) {
    crc = ~0u;
    for (uint64_t i = begin; i < end; ++i) crc = crc >> 8 ^ table[(crc ^ bytes[i]) & 0xFF];
    crc = crc::multiply(~crc, crc::power_of_bytes(size - end));
  }
  for (uint32_t distance = kWarpSize / 2; distance > 0; distance /= 2) {
    crc ^= thread.shuffle(crc, thread.warp_rank() ^ distance);
  }
  if (thread.warp_rank() == 0) of_warps[thread.warp()] = crc;
  thread.sync();
  crc = 0;
  for (uint32_t warp = 0; warp < thread.size() / kWarpSize; ++warp) crc ^= of_warps[warp];
  return crc;
}

}  // namespace fmtc::cuda
