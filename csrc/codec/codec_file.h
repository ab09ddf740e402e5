#pragma once

#include <filesystem>
#include <string>

#include "codec/tensor_codec.h"

namespace fmtc::codec {

// A codec that fmtc saved (fmtc/codec/archive.py, schema fmtc.codec/6): that of a bare
// tensor, or with `layer` one of a network's. The tables are made from the calibration counts in
// the file, as Python makes them. Error for files that are damaged or of more than max_bytes bytes,
// other schemas, and layers that are not there or not coded.
TensorCodec load_codec(const std::filesystem::path& path, const std::string& layer,
                       uint64_t max_bytes);

}  // namespace fmtc::codec
