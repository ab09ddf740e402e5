#pragma once

#include <cstdint>
#include <filesystem>
#include <stdexcept>
#include <vector>

namespace fmtc::infer {

// What is wrong with a file or an argument, in a sentence for the user.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct Image {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 0;
  std::vector<uint8_t> pixels;  // [height, width, channels]
};

// A JPEG or PNG file, by its first bytes, as RGB (`channels` 3) or grey (1): 8 bits a sample, of 16
// the upper ones; transparency is left out. Error for what is no such image or is cut off.
Image read_image(const std::filesystem::path& path, int channels);

}  // namespace fmtc::infer
