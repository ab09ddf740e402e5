#include "codec/array.h"

#include <Eigen/Core>
#include <algorithm>
#include <cstring>
#include <limits>

#include "codec/npy.h"
#include "codec/safetensors.h"

namespace fmtc::codec {
namespace {

template <typename T>
std::vector<T> copy_values(const Array& array) {
  std::vector<T> values(array.bytes.size() / sizeof(T));
  if (!values.empty()) std::memcpy(values.data(), array.bytes.data(), values.size() * sizeof(T));
  return values;
}

template <typename T>
std::vector<float> to_floats(const Array& array) {
  const std::vector<T> values = copy_values<T>(array);
  std::vector<float> floats(values.size());
  std::ranges::transform(values, floats.begin(), [](T value) { return static_cast<float>(value); });
  return floats;
}

template <typename T>
constexpr const char* kDtype = nullptr;
template <>
constexpr const char* kDtype<int16_t> = "I16";
template <>
constexpr const char* kDtype<int32_t> = "I32";
template <>
constexpr const char* kDtype<int64_t> = "I64";
template <>
constexpr const char* kDtype<float> = "F32";
template <>
constexpr const char* kDtype<double> = "F64";

}  // namespace

std::vector<float> Array::floats(const std::string& what) const {
  if (dtype == "F32") return copy_values<float>(*this);
  if (dtype == "F64") return to_floats<double>(*this);
  if (dtype == "F16") return to_floats<Eigen::half>(*this);
  if (dtype == "BF16") return to_floats<Eigen::bfloat16>(*this);
  throw Error(what + " holds " + dtype + ", not floating-point numbers");
}

template <typename T>
std::vector<T> Array::values(const std::string& what) const {
  if (dtype != kDtype<T>) throw Error(what + " holds " + dtype + ", not " + kDtype<T>);
  return copy_values<T>(*this);
}
template std::vector<int16_t> Array::values(const std::string&) const;
template std::vector<int32_t> Array::values(const std::string&) const;
template std::vector<int64_t> Array::values(const std::string&) const;
template std::vector<float> Array::values(const std::string&) const;
template std::vector<double> Array::values(const std::string&) const;

std::string shape_text(std::span<const int64_t> shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(shape[i]);
  }
  return text + "]";
}

size_t item_size(const std::string& dtype) {
  for (const char* name : {"F64", "I64", "U64", "C64"}) {
    if (dtype == name) return 8;
  }
  for (const char* name : {"F32", "I32", "U32"}) {
    if (dtype == name) return 4;
  }
  for (const char* name : {"F16", "BF16", "I16", "U16"}) {
    if (dtype == name) return 2;
  }
  for (const char* name :
       {"I8", "U8", "BOOL", "F8_E5M2", "F8_E4M3", "F8_E5M2FNUZ", "F8_E4M3FNUZ"}) {
    if (dtype == name) return 1;
  }
  throw Error("numbers of type '" + dtype + "' cannot be read");
}

size_t value_count(std::span<const int64_t> shape) {
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max() / 8;  // in bytes, too
  int64_t count = 1;
  for (const int64_t size : shape) {
    if (size < 0 || (size > 0 && size > kMost / count)) {
      throw Error("a tensor of the shape " + shape_text(shape) + " cannot be");
    }
    if (size > 0) count *= size;
  }
  // A dimension of 0 makes the tensor empty, however large the others are.
  if (std::ranges::find(shape, 0) != shape.end()) return 0;
  return static_cast<size_t>(count);
}

Array read_array(const std::filesystem::path& path, const std::string& name, uint64_t max_bytes) {
  const std::string kind = path.extension().string();
  if (kind != ".npy" && kind != ".safetensors") {
    throw Error(path.string() + ": tensors are read from .npy and .safetensors files");
  }
  const std::vector<uint8_t> bytes = read_file(path, max_bytes);
  try {
    if (kind == ".npy") return parse_npy(bytes);
    const Safetensors file(bytes);
    if (!name.empty()) return file.tensor(name);
    if (file.entries().size() == 1) return file.tensor(file.entries().begin()->first);
    throw Error("it holds " + std::to_string(file.entries().size()) +
                " tensors; name one with --tensor");
  } catch (const Error& error) {
    throw Error(path.string() + ": " + error.what());
  }
}

void write_array(const std::filesystem::path& path, const std::string& name, const Array& array) {
  const std::string kind = path.extension().string();
  if (kind == ".npy") return write_file(path, make_npy(array));
  if (kind == ".safetensors") return write_file(path, make_safetensors(name, array));
  throw Error(path.string() + ": tensors are written to .npy and .safetensors files");
}

}  // namespace fmtc::codec
