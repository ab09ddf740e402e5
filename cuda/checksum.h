#pragma once

#include "core/crc32c.h"
#include "cuda/kernel.h"
#include "cuda/word_at.h"

namespace fmtc::cuda {

// Multiplies registers by x^(8 * kBytes), byte by byte of the register, with tables in shared
// memory.
template <uint64_t kBytes>
class Shift {
 public:
  // By all threads of a thread block.
  //   tables  [4, 256];  bits: [32], what each bit becomes
  FMTC_DEVICE Shift(const Thread& thread, uint32_t* tables, uint32_t* bits) : tables_(tables) {
    constexpr uint32_t kPower = crc::power_of_bytes(kBytes);
    if (thread.rank() < 32) {  // the highest bit is x^0
      uint32_t power = kPower;
      for (uint32_t i = 31; i > thread.rank(); --i) power = crc::times_x(power);
      bits[thread.rank()] = power;
    }
    thread.sync();
    for (uint32_t i = thread.rank(); i < 4 * 256; i += thread.size()) {
      uint32_t sum = 0;
      for (uint32_t bit = 0; bit < 8; ++bit) {
        if ((i >> bit & 1) != 0) sum ^= bits[i / 256 * 8 + bit];
      }
      tables[i] = sum;
    }
    thread.sync();
  }

  FMTC_DEVICE uint32_t operator()(uint32_t a) const {
    return tables_[a & 0xFF] ^ tables_[256 + (a >> 8 & 0xFF)] ^ tables_[512 + (a >> 16 & 0xFF)] ^
           tables_[768 + (a >> 24)];
  }

 private:
  const uint32_t* tables_;
};

// The sum of what the threads of a warp have, that of thread i times x^(8 * kBytes * (31 - i)); in
// thread 31.
template <uint64_t kBytes, uint32_t kDistance = 1>
FMTC_DEVICE uint32_t join_warp(const Thread& thread, uint32_t value) {
  if constexpr (kDistance == kWarpSize) {
    return value;
  } else {
    constexpr uint32_t kPower = crc::power_of_bytes(kBytes * kDistance);
    const uint32_t before = thread.shuffle(value, (thread.warp_rank() - kDistance) % kWarpSize);
    return join_warp<kBytes, 2 * kDistance>(thread, crc::multiply(kPower, before) ^ value);
  }
}

// CRC-32C by kThreads threads: those of a warp, or all of a thread block. Thread i takes words i,
// i + kThreads, ... of the bytes with zeros before them up to a multiple of kThreads words, as
// zeros do not change a register that is 0.
template <uint32_t kThreads>
class Checksum {
  static constexpr bool kByWarp = kThreads == kWarpSize;

 public:
  static constexpr size_t kSpace = 4 * 256 + 32 + (kByWarp ? 0 : kThreads);

  // By all threads of a thread block.
  //   shared  [kSpace]
  FMTC_DEVICE Checksum(const Thread& thread, uint32_t* shared)
      : shift_(thread, shared, shared + 4 * 256), of_threads_(shared + 4 * 256 + 32) {}

  // The checksum of bytes behind those that `seed` is the checksum of; the same in all threads.
  //   bytes  device or shared
  FMTC_DEVICE uint32_t operator()(const Thread& thread, const uint8_t* bytes, uint64_t size,
                                  uint32_t seed = 0) const {
    if (size < kWord) {
      uint32_t crc = ~seed;
      for (uint64_t i = 0; i < size; ++i) {
        crc = crc >> 8 ^ crc::table_entry((crc ^ bytes[i]) & 0xFF);
      }
      return ~crc;
    }
    const uint32_t sum =
        sum_of_thread(kByWarp ? thread.warp_rank() : thread.rank(), bytes, size, seed);
    constexpr uint32_t kOneWord = crc::power_of_bytes(kWord);
    if constexpr (kByWarp) {
      const uint32_t joined = crc::multiply(kOneWord, join_warp<kWord>(thread, sum));
      return ~thread.shuffle(joined, kWarpSize - 1);
    } else {
      thread.sync();  // a call before may still be reading
      of_threads_[thread.rank()] = sum;
      thread.sync();
      if (thread.warp() == 0) {
        constexpr uint32_t kEach = kThreads / kWarpSize;
        uint32_t joined = 0;
        for (uint32_t i = 0; i < kEach; ++i) {
          joined = crc::multiply(kOneWord, joined) ^ of_threads_[thread.warp_rank() * kEach + i];
        }
        joined = join_warp<kWord * kEach>(thread, joined);
        thread.sync_warp();
        if (thread.warp_rank() == kWarpSize - 1) of_threads_[0] = crc::multiply(kOneWord, joined);
      }
      thread.sync();
      return ~of_threads_[0];
    }
  }

 private:
  static constexpr uint64_t kWord = 4;

  FMTC_DEVICE uint32_t sum_of_thread(uint32_t rank, const uint8_t* bytes, uint64_t size,
                                     uint32_t seed) const {
    const auto words = static_cast<int64_t>((size + kWord - 1) / kWord);
    const auto missing = static_cast<uint32_t>(kWord * static_cast<uint64_t>(words) - size);
    const int64_t rounds = (words + kThreads - 1) / kThreads;
    const auto word = [&](int64_t i) {
      if (i < 0) return uint32_t{0};
      // A register that begins with ~seed is one that begins with 0 and this in the first four
      // bytes.
      if (i == 0) return (word_at(bytes, size, 0) ^ ~seed) << 8 * missing;
      const uint32_t first = i == 1 && missing > 0 ? ~seed >> (32 - 8 * missing) : 0;
      return first ^ word_at(bytes, size, kWord * static_cast<uint64_t>(i) - missing);
    };
    uint32_t sum = 0;
    int64_t i = words - rounds * kThreads + rank;
    for (; i < 2 && i < words; i += kThreads) sum = shift_(sum) ^ word(i);
    const uint8_t* const from = bytes + kWord * static_cast<uint64_t>(i) - missing;
    const auto misaligned = static_cast<uint32_t>(reinterpret_cast<uintptr_t>(from) % kWord);
    const auto* aligned = reinterpret_cast<const uint32_t*>(from - misaligned);
    for (; i + 2 < words; i += kThreads, aligned += kThreads) {
      const uint64_t both = uint64_t{aligned[1]} << 32 | aligned[0];
      sum = shift_(sum) ^ static_cast<uint32_t>(both >> 8 * misaligned);
    }
    for (; i < words; i += kThreads) sum = shift_(sum) ^ word(i);
    return sum;
  }

  Shift<kWord * kThreads> shift_;
  uint32_t* of_threads_;
};

}  // namespace fmtc::cuda
