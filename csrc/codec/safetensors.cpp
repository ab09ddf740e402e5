#include "codec/safetensors.h"

#include <algorithm>
#include <array>

#include "core/bytes.h"

namespace fmtc::codec {
namespace {

using nlohmann::json;

constexpr const char* kMetadata = "__metadata__";
constexpr size_t kLengthBytes = 8;
constexpr size_t kAlignment = 8;  // of the header, padded with spaces

std::span<const uint8_t> place(const json& entry, std::span<const uint8_t> data) {
  const auto offsets = entry.at("data_offsets").get<std::array<uint64_t, 2>>();
  if (offsets[0] > offsets[1] || offsets[1] > data.size()) throw Error("a tensor is cut off");
  return data.subspan(offsets[0], offsets[1] - offsets[0]);
}

void check_entry(const std::string& name, const json& entry, std::span<const uint8_t> data) {
  const auto shape = entry.at("shape").get<std::vector<int64_t>>();
  const size_t size = value_count(shape) * item_size(entry.at("dtype").get<std::string>());
  if (place(entry, data).size() != size) {
    throw Error("tensor '" + name + "' has not as many bytes as its shape says");
  }
}

}  // namespace

Safetensors::Safetensors(std::span<const uint8_t> file) {
  if (file.size() < kLengthBytes) throw Error("it is too short for a safetensors file");
  const auto length = load_le<uint64_t>(file.data());
  if (length > file.size() - kLengthBytes) throw Error("it is no safetensors file, or cut off");
  data_ = file.subspan(kLengthBytes + length);
  try {
    const auto* text = reinterpret_cast<const char*>(file.data()) + kLengthBytes;
    header_ = json::parse(text, text + length);
    if (!header_.is_object()) throw Error("its header is no JSON object");
    for (const auto& [name, entry] : header_.items()) {
      if (name == kMetadata) continue;
      check_entry(name, entry, data_);
      names_.push_back(name);
    }
  } catch (const json::exception& error) {
    throw Error(std::string("its header is damaged: ") + error.what());
  }
}

Array Safetensors::tensor(const std::string& name) const {
  const auto data = bytes(name);
  const json& entry = header_.at(name);
  return {entry.at("dtype"), entry.at("shape"), {data.begin(), data.end()}};
}

std::span<const uint8_t> Safetensors::bytes(const std::string& name) const {
  if (!std::ranges::binary_search(names_, name)) throw Error("it has no tensor '" + name + "'");
  return place(header_.at(name), data_);
}

std::string Safetensors::metadata(const std::string& key) const {
  const json metadata = header_.value(kMetadata, json::object());
  return metadata.is_object() && metadata.contains(key) && metadata[key].is_string()
             ? metadata[key].get<std::string>()
             : std::string();
}

std::vector<uint8_t> make_safetensors(const std::string& name, const Array& array) {
  const json entry = {
      {"dtype", array.dtype}, {"shape", array.shape}, {"data_offsets", {0, array.bytes.size()}}};
  std::string header = json{{name, entry}}.dump();
  header.append((kAlignment - header.size() % kAlignment) % kAlignment, ' ');
  std::vector<uint8_t> file(kLengthBytes + header.size() + array.bytes.size());
  store_le(file.data(), static_cast<uint64_t>(header.size()));
  std::ranges::copy(header, file.begin() + kLengthBytes);
  std::ranges::copy(array.bytes, file.end() - static_cast<ptrdiff_t>(array.bytes.size()));
  return file;
}

}  // namespace fmtc::codec
