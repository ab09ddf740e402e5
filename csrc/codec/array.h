#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace fmtc::codec {

// What is wrong with a file or an argument, in a sentence for the user.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// A tensor in memory: row-major, little-endian.
struct Array {
  std::string dtype;           // as safetensors names it: "F16", "BF16", "F32", "F64", "I16", ...
  std::vector<int64_t> shape;  // none negative
  std::vector<uint8_t> bytes;

  // The values, for floating-point types converted to float32. Error for others, which
  // `what` names.
  std::vector<float> floats(const std::string& what) const;
  // The values of exactly this type: int16_t "I16", int32_t "I32", int64_t "I64", double "F64".
  template <typename T>
  std::vector<T> values(const std::string& what) const;
};

// "[2, 3]"
std::string shape_text(std::span<const int64_t> shape);

// Bytes of one value. Error for a type that safetensors does not have.
size_t item_size(const std::string& dtype);

// The number of values. Error where it is negative or does not fit.
size_t value_count(std::span<const int64_t> shape);

// All bytes of a file; writing replaces the file as a whole, or not at all. Error where that fails.
std::vector<uint8_t> read_file(const std::filesystem::path& path);
void write_file(const std::filesystem::path& path, std::span<const uint8_t> bytes);

// A tensor of a .npy or .safetensors file. `name`: which of several in a .safetensors file.
Array read_array(const std::filesystem::path& path, const std::string& name);
// Writes F32 or I16; in a .safetensors file under `name`.
void write_array(const std::filesystem::path& path, const std::string& name, const Array& array);

}  // namespace fmtc::codec
