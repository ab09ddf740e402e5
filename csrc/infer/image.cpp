#include "infer/image.h"

#include <array>
#include <cstdio>
#include <string>

#include "infer/image_file.h"

namespace fmtc::infer {
namespace {

constexpr std::array<uint8_t, 8> kPng = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};

}  // namespace

Image::Image(int64_t height, int64_t width, int64_t channels)
    : height(height),
      width(width),
      channels(channels),
      data(new uint8_t[static_cast<size_t>(height * width * channels)]) {}

Image read_image(const std::filesystem::path& path, int channels, int64_t max_pixels) {
  const File file(std::fopen(path.c_str(), "rb"));
  if (!file) throw Error("it cannot be opened");
  return read_image(file.get(), channels, max_pixels);
}

Image read_image(std::FILE* file, int channels, int64_t max_pixels) {
  std::array<uint8_t, 8> first = {};
  if (std::fread(first.data(), 1, first.size(), file) != first.size()) {
    throw Error("it is too short for an image");
  }
  if (std::fseek(file, 0, SEEK_SET) != 0) throw Error("it cannot be read twice");
  if (first == kPng) return read_png(file, channels, max_pixels);
  if (first[0] == 0xFF && first[1] == 0xD8) return read_jpeg(file, channels, max_pixels);
  throw Error("it is neither JPEG nor PNG");
}

}  // namespace fmtc::infer
