#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "codec/array.h"

namespace fmtc::codec {

// What the header of a safetensors file says of one tensor.
struct TensorEntry {
  std::string dtype;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;  // of its bytes, in those of all tensors
};

// A safetensors file in memory, which must outlive it: a JSON header with types, shapes and places
// of the tensors, then their bytes (the format's own description: huggingface/safetensors).
class Safetensors {
 public:
  // Error for bytes that are no such file: the tensors' bytes follow each other without gaps to the
  // end of the file, and are as many as their types and shapes say.
  explicit Safetensors(std::span<const uint8_t> file);

  const std::map<std::string, TensorEntry>& entries() const { return entries_; }  // by name
  bool has(const std::string& name) const { return entries_.contains(name); }
  // Error where there is no such tensor.
  const TensorEntry& entry(const std::string& name) const;
  Array tensor(const std::string& name) const;
  std::span<const uint8_t> bytes(const std::string& name) const;
  // Empty where the file has no such entry.
  std::string metadata(const std::string& key) const;

 private:
  void check_places() const;

  std::map<std::string, TensorEntry> entries_;
  std::map<std::string, std::string> metadata_;
  std::span<const uint8_t> data_;
};

// The bytes of a file with one tensor.
std::vector<uint8_t> make_safetensors(const std::string& name, const Array& array);

}  // namespace fmtc::codec
