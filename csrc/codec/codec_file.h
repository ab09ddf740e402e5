#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "codec/safetensors.h"
#include "codec/tensor_codec.h"

namespace fmtc::codec {

// The checksum of a saved codec: of its description and of all tensors by name, what and where they
// are, and their bytes.
uint32_t codec_checksum(const Safetensors& file, const std::string& description);

// The bytes of a codec that fmtc saved (fmtc/codec/archive.py, schema fmtc.codec/6): that of a bare
// tensor, or with `layer` one of a network's. The tables are made from the calibration counts in
// the file, as Python makes them. Error for what is damaged, of another schema, or has no such
// layer, or one that is not coded.
TensorCodec parse_codec(std::span<const uint8_t> bytes, const std::string& layer);

// The same of a file; its name begins the messages. Error also where it has more than max_bytes
// bytes.
TensorCodec load_codec(const std::filesystem::path& path, const std::string& layer,
                       uint64_t max_bytes);

}  // namespace fmtc::codec
