#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/bytes.h"
#include "core/device.h"
#include "core/multiversion.h"
#include "core/status.h"

namespace fmtc {

// Bit strings are LSB-first: the first bit written is bit 0 of byte 0. The end is padded with zero
// bits to a whole byte.

// Appends bits to a bounded span; what does not fit is dropped and reported by finish().
class BitWriter {
 public:
  // How many bits may be put between two flushes.
  static constexpr int kBitsPerFlush = 56;

  FMTC_HD explicit BitWriter(std::span<uint8_t> out) noexcept
      : begin_(out.data()), next_(out.data()), end_(out.data() + out.size()) {}

  // Appends the low `count` bits of `bits`; the bits above them must be zero.
  FMTC_HD FMTC_ALWAYS_INLINE void put(uint64_t bits, int count) noexcept {
    buffer_ |= bits << filled_;
    filled_ += count;
  }

  // Moves whole bytes from the 64-bit buffer to memory; at most 7 bits stay.
  FMTC_HD FMTC_ALWAYS_INLINE void flush() noexcept {
    if (end_ - next_ >= 8) [[likely]] {
      store_le<uint64_t>(next_, buffer_);
      next_ += filled_ >> 3;
      buffer_ >>= filled_ & ~7;
      filled_ &= 7;
    } else {
      flush_bytes();
    }
  }

  // Pads to a byte. `used` becomes the number of bytes written. kBufferTooSmall where bits were
  // dropped.
  FMTC_HD Status finish(size_t& used) noexcept {
    filled_ = (filled_ + 7) & ~7;
    flush_bytes();
    used = static_cast<size_t>(next_ - begin_);
    return overflow_ ? Status::kBufferTooSmall : Status::kOk;
  }

 private:
  FMTC_HD void flush_bytes() noexcept {
    for (; filled_ >= 8; filled_ -= 8, buffer_ >>= 8) {
      if (next_ == end_) {
        overflow_ = true;
      } else {
        *next_++ = static_cast<uint8_t>(buffer_);
      }
    }
  }

  uint8_t* begin_;
  uint8_t* next_;
  uint8_t* end_;
  uint64_t buffer_ = 0;
  int filled_ = 0;  // bits in the buffer
  bool overflow_ = false;
};

// Takes bits from a bounded span. Reading past the end is never done: peek() shows zeros there and
// available() tells how many bits are real.
class BitReader {
 public:
  // How many bits are at hand after refill(), unless there are no more.
  static constexpr int kBitsPerRefill = 56;

  BitReader() noexcept = default;
  FMTC_HD explicit BitReader(std::span<const uint8_t> in) noexcept
      : next_(in.data()), end_(in.data() + in.size()) {}

  // Bytes that are not in the buffer yet.
  FMTC_HD size_t left() const noexcept { return static_cast<size_t>(end_ - next_); }

  // Fills the buffer to at least kBitsPerRefill bits, or with all that is left. The bits above
  // available() are the bytes at next_, as far as 8 bytes were loaded at once, or zeros.
  FMTC_HD FMTC_ALWAYS_INLINE void refill() noexcept {
    if (left() >= sizeof(buffer_)) [[likely]] {
      buffer_ |= load_le<uint64_t>(next_) << available_;
      // To a < 64 bits, floor((63 - a) / 8) whole bytes can be added: they are then 56 + a % 8.
      next_ += (63 - available_) >> 3;
      available_ |= kBitsPerRefill;
      return;
    }
    for (; available_ < kBitsPerRefill && next_ != end_; available_ += 8) {
      buffer_ |= static_cast<uint64_t>(*next_++) << available_;
    }
  }

  FMTC_HD int available() const noexcept { return available_; }

  // The next bits, the first in bit 0; at least available() of them are real.
  FMTC_HD FMTC_ALWAYS_INLINE uint64_t peek() const noexcept { return buffer_; }

  // Takes bits away; count <= available().
  FMTC_HD FMTC_ALWAYS_INLINE void skip(int count) noexcept {
    buffer_ >>= count;
    available_ -= count;
  }

  // True where nothing is left but the zero bits that pad the last byte.
  FMTC_HD bool at_end() const noexcept { return at_end(end_); }

  // The same where the bits are those before `end`, although more of them can be taken.
  FMTC_HD bool at_end(const uint8_t* end) const noexcept {
    const ptrdiff_t left = available_ - 8 * (next_ - end);
    return left >= 0 && left < 8 && (buffer_ & ((uint64_t{1} << left) - 1)) == 0;
  }

 private:
  friend class UncheckedBitReader;

  const uint8_t* next_ = nullptr;
  const uint8_t* end_ = nullptr;
  uint64_t buffer_ = 0;
  int available_ = 0;  // bits of the buffer that precede the byte at next_
};

// Takes bits from where a BitReader stands, without looking at the end: for inner loops. It has two
// numbers of state alone, so that several fit into registers side by side: a mark above the bits
// tells by where it is how many of them were taken.
class UncheckedBitReader {
 public:
  // How many bits are at hand after refill().
  static constexpr int kBitsPerRefill = 56;

  // Reads 8 bytes, as does each refill(): those from the byte that holds the next bit.
  explicit UncheckedBitReader(const BitReader& reader) noexcept
      : next_(reader.next_ - (reader.available_ + 7) / 8),
        bits_(kMark >> (-reader.available_ & 7)) {}

  FMTC_HD FMTC_ALWAYS_INLINE void refill() noexcept {
    const auto taken = static_cast<uint64_t>(std::countl_zero(bits_));
    next_ += taken >> 3;
    bits_ = (load_le<uint64_t>(next_) | kMark) >> (taken & 7);
  }

  FMTC_HD FMTC_ALWAYS_INLINE uint64_t peek() const noexcept { return bits_; }
  FMTC_HD FMTC_ALWAYS_INLINE void skip(int count) noexcept { bits_ >>= count; }

  // Lets the BitReader stand here.
  void store(BitReader& reader) const noexcept {
    const int taken = std::countl_zero(bits_);
    reader.next_ = next_ + (taken >> 3);
    reader.buffer_ = 0;
    reader.available_ = 0;
    reader.refill();
    reader.skip(taken & 7);
  }

 private:
  static constexpr uint64_t kMark = uint64_t{1} << 63;

  const uint8_t* next_;
  uint64_t bits_;  // behind the mark
};

}  // namespace fmtc
