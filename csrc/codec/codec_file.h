#pragma once

#include <filesystem>
#include <string>

#include "codec/tensor_codec.h"

namespace fmtc::codec {

// A codec that fmtc saved (fmtc/codec/archive.py, schema fmtc.codec/5): that of a bare
// tensor, or with `layer` one of a network's. The tables are made from the calibration counts in
// the file, as Python makes them. Error for damaged files, other schemas, and layers that are not
// there or not coded.
TensorCodec load_codec(const std::filesystem::path& path, const std::string& layer);

}  // namespace fmtc::codec
