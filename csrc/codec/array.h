#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "codec/error.h"
#include "codec/file.h"

namespace fmtc::codec {

// A tensor in memory: row-major, little-endian.
struct Array {
  std::string dtype;           // as safetensors names it: "F16", "BF16", "F32", "F64", "I16", ...
  std::vector<int64_t> shape;  // none negative
  std::vector<uint8_t> bytes;

  // The values, for floating-point types converted to float32. Error for others, which
  // `what` names.
  std::vector<float> floats(const std::string& what) const;
  // The values of exactly this type: int16_t "I16", int32_t "I32", int64_t "I64", float "F32",
  // double "F64".
  template <typename T>
  std::vector<T> values(const std::string& what) const;
};

// "[2, 3]"
std::string shape_text(std::span<const int64_t> shape);

// Bytes of one value. Error for a type that safetensors does not have.
size_t item_size(const std::string& dtype);

// The number of values. Error where a dimension is negative, or those that are not 0 are together
// more than memory could hold.
size_t value_count(std::span<const int64_t> shape);

// A tensor of a .npy or .safetensors file, of at most max_bytes bytes. `name`: which of several in
// a .safetensors file.
Array read_array(const std::filesystem::path& path, const std::string& name, uint64_t max_bytes);
// Writes F32 or I16; in a .safetensors file under `name`.
void write_array(const std::filesystem::path& path, const std::string& name, const Array& array);

}  // namespace fmtc::codec
