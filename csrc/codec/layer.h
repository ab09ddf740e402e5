#pragma once

#include <zlib.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "codec/array.h"
#include "codec/safetensors.h"
#include "core/status.h"

namespace fmtc::codec {

// What the readers of a saved codec share: errors, its checksum, and a layer's contents.

[[noreturn]] inline void fail_damaged(const std::string& why) {
  throw Error("it is damaged: " + why);
}

inline void check(bool good, const char* why) {
  if (!good) fail_damaged(why);
}

inline void check(Status status) {
  if (status != Status::kOk) fail_damaged(message(status));
}

inline uint32_t crc32_of(std::span<const uint8_t> bytes, uint32_t seed) {
  return static_cast<uint32_t>(crc32_z(seed, bytes.data(), bytes.size()));
}

inline uint32_t crc32_of(const std::string& text, uint32_t seed) {
  return crc32_of({reinterpret_cast<const uint8_t*>(text.data()), text.size()}, seed);
}

// A whole number, or any finite number, of a description: nothing else is converted to one. `what`
// names it.
inline int64_t integer(const nlohmann::json& value, const std::string& what) {
  const bool fits =
      !value.is_number_unsigned() || value.get<uint64_t>() <= std::numeric_limits<int64_t>::max();
  if (!value.is_number_integer() || !fits) fail_damaged(what + " must be a whole number");
  return value.get<int64_t>();
}

inline double number(const nlohmann::json& value, const std::string& what) {
  if (!value.is_number() || !std::isfinite(value.get<double>())) {
    fail_damaged(what + " must be a number");
  }
  return value.get<double>();
}

// The tensors and settings of one layer.
class Layer {
 public:
  Layer(const Safetensors& file, const nlohmann::json& settings, size_t index)
      : file_(file), settings_(settings), prefix_(std::to_string(index) + ".") {}

  bool has(const std::string& name) const { return file_.has(prefix_ + name); }
  bool has_setting(const char* name) const { return settings_.contains(name); }
  const nlohmann::json& setting(const char* name) const { return settings_.at(name); }
  int64_t integer_setting(const char* name) const { return integer(setting(name), name); }
  Array tensor(const std::string& name) const { return file_.tensor(prefix_ + name); }
  // The values of a tensor that must have one dimension.
  template <typename T>
  std::vector<T> vector(const std::string& name) const {
    const Array array = tensor(name);
    check(array.shape.size() == 1, "a tensor has the wrong shape");
    return array.values<T>(name);
  }

 private:
  const Safetensors& file_;
  const nlohmann::json& settings_;
  std::string prefix_;
};

}  // namespace fmtc::codec
