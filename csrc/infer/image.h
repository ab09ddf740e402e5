#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <stdexcept>

namespace fmtc::infer {

// What is wrong with a file or an argument, in a sentence for the user.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// Of an image, at most, unless it is said otherwise: what Pillow takes (Image.MAX_IMAGE_PIXELS,
// twice), and so Python.
inline constexpr int64_t kDefaultMaxPixels = 178'956'970;

struct Image {
  Image(int64_t height, int64_t width, int64_t channels);

  int64_t size() const { return height * width * channels; }
  uint8_t* row(int64_t y) { return data.get() + y * width * channels; }
  std::span<const uint8_t> pixels() const { return {data.get(), static_cast<size_t>(size())}; }

  int64_t height, width, channels;
  // [height, width, channels]; not cleared, so that pages of rows that never come are not touched.
  std::unique_ptr<uint8_t[]> data;
};

// A JPEG or PNG file of at most max_pixels pixels, by its first bytes, as RGB (`channels` 3) or
// grey (1): 8 bits a sample, of 16 the upper ones; transparency is left out; CMYK as Pillow
// converts it. Error for what is no such image, is cut off, or larger.
Image read_image(const std::filesystem::path& path, int channels,
                 int64_t max_pixels = kDefaultMaxPixels);

}  // namespace fmtc::infer
