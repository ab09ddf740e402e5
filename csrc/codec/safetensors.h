#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "codec/array.h"

namespace fmtc::codec {

// A safetensors file in memory, which must outlive it: a JSON header with types, shapes and places
// of the tensors, then their bytes (the format's own description: huggingface/safetensors).
class Safetensors {
 public:
  // Error for bytes that are no such file: every tensor is checked to lie within it.
  explicit Safetensors(std::span<const uint8_t> file);

  const std::vector<std::string>& names() const { return names_; }  // sorted
  bool has(const std::string& name) const { return header_.contains(name); }
  // Error where there is no such tensor.
  Array tensor(const std::string& name) const;
  std::span<const uint8_t> bytes(const std::string& name) const;
  // Empty where the file has no such entry.
  std::string metadata(const std::string& key) const;

 private:
  nlohmann::json header_;
  std::vector<std::string> names_;
  std::span<const uint8_t> data_;
};

// The bytes of a file with one tensor.
std::vector<uint8_t> make_safetensors(const std::string& name, const Array& array);

}  // namespace fmtc::codec
