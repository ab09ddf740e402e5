#pragma once

#include <cstring>
#include <exception>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "codec/codec_file.h"
#include "codec/safetensors.h"
#include "core/bytes.h"
#include "input.h"

// What the targets of files share: safetensors, taken apart and put together again.

// libFuzzer's own mutations, which the ones for files are made of.
extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace fmtc {

constexpr size_t kLengthBytes = 8;  // of a header's length

// The text with one of libFuzzer's mutations, of at most `most` bytes.
inline std::string mutated(std::string text, size_t most) {
  const size_t size = text.size();
  text.resize(std::max(most, size));
  text.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(text.data()), size, text.size()));
  return text;
}

inline std::string with_length(const std::string& header, const std::string& data) {
  std::string file(kLengthBytes, '\0');
  store_le<uint64_t>(reinterpret_cast<uint8_t*>(file.data()), header.size());
  return file + header + data;
}

// Puts a file where the fuzzer wants it; the old one where it is too long.
inline size_t hand_back(const std::string& file, uint8_t* data, size_t size, size_t most) {
  if (file.size() > most) return size;
  std::memcpy(data, file.data(), file.size());
  return file.size();
}

// A saved codec: its description and its tensors.
struct SavedCodec {
  struct Tensor {
    std::string name, dtype;
    std::vector<int64_t> shape;
    std::string bytes;
  };
  std::string schema, description;
  std::vector<Tensor> tensors;

  // Error or another exception where it is none.
  explicit SavedCodec(std::span<const uint8_t> bytes) {
    const codec::Safetensors file(bytes);
    const auto parts = nlohmann::json::parse(file.metadata("fmtc"));
    schema = parts.at("schema");
    description = parts.at("description");
    for (const auto& [name, entry] : file.entries()) {
      const auto of = file.bytes(name);
      tensors.push_back({name, entry.dtype, entry.shape, std::string(of.begin(), of.end())});
    }
  }

  std::string file(uint32_t checksum) const {
    const nlohmann::json said = {
        {"schema", schema}, {"checksum", checksum}, {"description", description}};
    nlohmann::json header = {{"__metadata__", {{"fmtc", dump(said)}}}};
    std::string data;
    for (const Tensor& tensor : tensors) {
      const size_t begin = data.size();
      data += tensor.bytes;
      header[tensor.name] = {
          {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {begin, data.size()}}};
    }
    return with_length(dump(header), data);
  }

  // With its checksum made right, where it is a safetensors file at all.
  std::string file() const {
    const std::string unchecked = file(0);
    try {
      const std::vector<uint8_t> bytes(unchecked.begin(), unchecked.end());
      return file(codec::codec_checksum(codec::Safetensors(bytes), description));
    } catch (const std::exception&) {
      return unchecked;
    }
  }

 private:
  static std::string dump(const nlohmann::json& value) {
    return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  }
};

}  // namespace fmtc
