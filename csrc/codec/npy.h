#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "codec/array.h"

namespace fmtc::codec {

// NumPy's .npy format, versions 1 to 3 (numpy.lib.format), row-major and little-endian. Error for
// what is no such file, or holds something else than numbers.
Array parse_npy(std::span<const uint8_t> file);

// The bytes of such a file (version 1) with an F32 or I16 array.
std::vector<uint8_t> make_npy(const Array& array);

}  // namespace fmtc::codec
