#include "codec/safetensors.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>
#include <utility>

#include "codec/safetensors_header.h"
#include "core/bytes.h"

namespace fmtc::codec {
namespace {

constexpr size_t kLengthBytes = 8;
constexpr uint64_t kMostHeader = 100'000'000;  // as the safetensors package has it
constexpr size_t kAlignment = 8;               // of the header, padded with spaces

}  // namespace

Safetensors::Safetensors(std::span<const uint8_t> file) {
  if (file.size() < kLengthBytes) throw Error("it is too short for a safetensors file");
  const auto length = load_le<uint64_t>(file.data());
  if (length > std::min<uint64_t>(file.size() - kLengthBytes, kMostHeader)) {
    throw Error("it is no safetensors file, or cut off");
  }
  data_ = file.subspan(kLengthBytes + length);
  parse_header({reinterpret_cast<const char*>(file.data()) + kLengthBytes, length}, entries_,
               metadata_);
  check_places();
}

void Safetensors::check_places() const {
  std::vector<std::pair<uint64_t, uint64_t>> places;
  for (const auto& [name, entry] : entries_) {
    const size_t size = value_count(entry.shape) * item_size(entry.dtype);
    if (entry.end < entry.begin || entry.end - entry.begin != size) {
      throw Error("tensor '" + name + "' has not as many bytes as its shape says");
    }
    places.emplace_back(entry.begin, entry.end);
  }
  std::ranges::sort(places);
  uint64_t at = 0;
  for (const auto& [begin, end] : places) {
    if (begin != at) throw Error("its tensors overlap, or there are bytes of none between them");
    at = end;
  }
  if (at != data_.size()) {
    throw Error(at > data_.size() ? "a tensor is cut off" : "there are bytes behind its tensors");
  }
}

const TensorEntry& Safetensors::entry(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found == entries_.end()) throw Error("it has no tensor '" + name + "'");
  return found->second;
}

Array Safetensors::tensor(const std::string& name) const {
  const auto data = bytes(name);
  return {entry(name).dtype, entry(name).shape, {data.begin(), data.end()}};
}

std::span<const uint8_t> Safetensors::bytes(const std::string& name) const {
  const TensorEntry& place = entry(name);
  return data_.subspan(place.begin, place.end - place.begin);
}

std::string Safetensors::metadata(const std::string& key) const {
  const auto found = metadata_.find(key);
  return found == metadata_.end() ? std::string() : found->second;
}

std::vector<uint8_t> make_safetensors(const std::string& name, const Array& array) {
  using nlohmann::json;
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
