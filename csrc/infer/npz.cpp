#include "infer/npz.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstring>

#include "codec/array.h"
#include "codec/npy.h"
#include "infer/image.h"
#include "infer/zip.h"

namespace fmtc::infer {
namespace {

constexpr uint64_t kMostExpansion = 4;  // of an .npz of more than max_bytes

std::string sizes_text(const std::vector<int64_t>& shape) {
  std::string text;
  for (const int64_t size : shape) text += (text.empty() ? "" : " x ") + std::to_string(size);
  return text;
}

// As NumPy names it.
std::string numpy_name(const std::string& dtype) {
  if (dtype == "BOOL") return "bool";
  const std::string kind = dtype.starts_with("U")   ? "uint"
                           : dtype.starts_with("I") ? "int"
                                                    : "float";
  return kind + dtype.substr(dtype.find_first_of("0123456789"));
}

at::Tensor channels_first(codec::Array array) {
  const std::string shape = sizes_text(array.shape);
  if (array.dtype != "U8" || array.shape.size() != 4) {
    throw Error("'images' must be uint8 with 4 dimensions, not " + numpy_name(array.dtype) + " " +
                shape);
  }
  at::Tensor images = at::empty(array.shape, at::kByte);
  std::ranges::copy(array.bytes, images.mutable_data_ptr<uint8_t>());
  const auto is_channels = [](int64_t size) { return size == 1 || size == 3; };
  if (is_channels(images.size(1))) return images;
  if (is_channels(images.size(3))) return images.permute({0, 3, 1, 2});
  throw Error("'images' (" + shape + ") must be NCHW or NHWC with 1 or 3 channels");
}

template <typename T>
std::vector<int64_t> widened(const std::vector<uint8_t>& bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), values.size() * sizeof(T));
  return {values.begin(), values.end()};
}

std::vector<int64_t> integers(const codec::Array& array) {
  const std::string& type = array.dtype;
  if (type == "I8") return widened<int8_t>(array.bytes);
  if (type == "U8") return widened<uint8_t>(array.bytes);
  if (type == "I16") return widened<int16_t>(array.bytes);
  if (type == "U16") return widened<uint16_t>(array.bytes);
  if (type == "I32") return widened<int32_t>(array.bytes);
  if (type == "U32") return widened<uint32_t>(array.bytes);
  if (type == "I64" || type == "U64") return widened<int64_t>(array.bytes);
  return {};
}

std::vector<int64_t> checked_labels(const codec::Array& array, int64_t count) {
  const std::vector<int64_t> labels = integers(array);
  if (array.shape != std::vector<int64_t>{count} || static_cast<int64_t>(labels.size()) != count) {
    const std::string shape = sizes_text(array.shape);
    throw Error("'labels' must be " + std::to_string(count) + " integers, not " +
                numpy_name(array.dtype) + " " + (shape.empty() ? "a single number" : shape));
  }
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] >= 0) continue;
    throw Error("image " + std::to_string(i) + " has label " + std::to_string(labels[i]) +
                ", outside 0...");
  }
  return labels;
}

std::string found_arrays(const ZipArchive& archive) {
  std::string text;
  for (std::string name : archive.names()) {
    if (name.ends_with(".npy")) name.resize(name.size() - 4);
    text += (text.empty() ? "" : ", ") + name;
  }
  return text.empty() ? "nothing" : text;
}

}  // namespace

NpzImages read_npz(const std::filesystem::path& path, uint64_t max_bytes) {
  const std::vector<uint8_t> file = codec::read_file(path, max_bytes);
  const ZipArchive archive(file);
  const uint64_t most = std::max<uint64_t>(max_bytes, kMostExpansion * file.size());
  if (archive.unpacked_bytes() > most) {
    throw Error("its arrays take " + std::to_string(archive.unpacked_bytes()) +
                " bytes, more than " + std::to_string(most));
  }
  if (!archive.has("images.npy")) {
    throw Error("no array 'images' (it has " + found_arrays(archive) + ")");
  }
  NpzImages found{channels_first(codec::parse_npy(archive.read("images.npy"))), {}};
  if (archive.has("labels.npy")) {
    found.labels =
        checked_labels(codec::parse_npy(archive.read("labels.npy")), found.pixels.size(0));
  }
  return found;
}

}  // namespace fmtc::infer
