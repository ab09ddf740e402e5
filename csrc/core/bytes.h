#pragma once

#include <bit>
#include <cstdint>
#include <cstring>

#include "core/device.h"

namespace fmtc {

// Unaligned little-endian loads and stores, on any host.
template <typename T>
FMTC_HD T load_le(const uint8_t* from) noexcept {
  uint8_t bytes[sizeof(T)];
  std::memcpy(bytes, from, sizeof(T));
  T value = 0;
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(&value, bytes, sizeof(T));
  } else {
    for (unsigned i = 0; i < sizeof(T); ++i) value |= static_cast<T>(bytes[i]) << (8 * i);
  }
  return value;
}

template <typename T>
FMTC_HD void store_le(uint8_t* to, T value) noexcept {
  uint8_t bytes[sizeof(T)];
  if constexpr (std::endian::native == std::endian::little) {
    std::memcpy(bytes, &value, sizeof(T));
  } else {
    for (unsigned i = 0; i < sizeof(T); ++i) bytes[i] = static_cast<uint8_t>(value >> (8 * i));
  }
  std::memcpy(to, bytes, sizeof(T));
}

}  // namespace fmtc
