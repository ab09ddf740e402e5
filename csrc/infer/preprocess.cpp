#include "infer/preprocess.h"

#include <ATen/ATen.h>
#include <ATen/Version.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <sstream>
#include <string_view>

namespace fmtc::infer {
namespace {

std::vector<std::string> split(const std::string& text, char by) {
  std::vector<std::string> parts;
  std::istringstream stream(text);
  for (std::string part; std::getline(stream, part, by);) parts.push_back(part);
  return parts;
}

template <typename T>
std::vector<T> numbers(const std::string& text, char by) {
  std::vector<T> values;
  for (const std::string& part : split(text, by)) {
    T value = 0;
    const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
    if (error != std::errc() || end != part.data() + part.size()) return {};
    values.push_back(value);
  }
  return values;
}

// "224" or "240x320"
std::vector<int64_t> sizes(const std::string& step, const std::string& text) {
  const std::vector<int64_t> size = numbers<int64_t>(text, 'x');
  if (size.empty() || size.size() > 2 || size.front() < 1 || size.back() < 1) {
    throw Error("preprocess: '" + step + "' needs a size in pixels, like 224 or 240x320");
  }
  return size;
}

// As torchvision resizes: in 8 bits where torch has a kernel for that.
at::Tensor resize(const at::Tensor& image, const std::vector<int64_t>& size, int64_t max_pixels) {
  const int64_t height = image.size(1), width = image.size(2);
  int64_t new_height = size.front(), new_width = size.back();
  if (size.size() == 1) {  // of the short side
    const auto longer = [&](int64_t side, int64_t of) {
      return static_cast<int64_t>(static_cast<double>(size[0]) * static_cast<double>(side) /
                                  static_cast<double>(of));
    };
    new_height = height <= width ? size[0] : longer(height, width);
    new_width = height <= width ? longer(width, height) : size[0];
  }
  if (new_height == height && new_width == width) return image;
  if (new_width > 0 && new_height > max_pixels / new_width) {
    throw Error("resizing would make it larger than --max-pixels " + std::to_string(max_pixels));
  }
  const std::string cpu = at::get_cpu_capability();
  const bool in_bytes = cpu == "AVX2" || cpu == "AVX512";
  const at::Tensor from = image.unsqueeze(0).to(in_bytes ? at::kByte : at::kFloat);
  const at::Tensor to =
      at::_upsample_bilinear2d_aa(from, {new_height, new_width}, /*align_corners=*/false);
  return (in_bytes ? to : to.round_().clamp_(0, 255).to(at::kByte)).squeeze(0);
}

at::Tensor crop(const at::Tensor& image, const std::vector<int64_t>& size, int64_t) {
  const int64_t height = size.front(), width = size.back();
  if (image.size(1) < height || image.size(2) < width) {
    throw Error("a crop of " + std::to_string(height) + "x" + std::to_string(width) +
                " does not fit into " + std::to_string(image.size(1)) + "x" +
                std::to_string(image.size(2)) + " pixels");
  }
  const auto begin = [](int64_t all, int64_t part) {  // half to even, as Python rounds
    return static_cast<int64_t>(std::nearbyint(static_cast<double>(all - part) / 2));
  };
  return image.narrow(1, begin(image.size(1), height), height)
      .narrow(2, begin(image.size(2), width), width);
}

// Luma of ITU-R BT.601 in the fixed point of Pillow.
at::Tensor to_grey(const at::Tensor& image) {
  if (image.size(0) == 1) return image;
  if (image.size(0) != 3) {
    throw Error("preprocess: grey is made of 3 channels, the image has " +
                std::to_string(image.size(0)));
  }
  const at::Tensor x = image.to(at::kInt);
  const at::Tensor luma = 19595 * x[0] + 38470 * x[1] + 7471 * x[2] + 32768;
  return at::bitwise_right_shift(luma, 16).to(at::kByte).unsqueeze(0);
}

at::Tensor per_channel(const char* name, const std::vector<float>& values, int64_t channels) {
  if (values.size() != 1 && static_cast<int64_t>(values.size()) != channels) {
    throw Error(std::string("preprocess: ") + name + " has " + std::to_string(values.size()) +
                " values, the image has " + std::to_string(channels) + " channel(s)");
  }
  return at::tensor(values).view({-1, 1, 1});
}

}  // namespace

Preprocess::Preprocess(const std::string& text, int64_t max_pixels) {
  for (std::string step : split(text, ',')) {
    step.erase(0, step.find_first_not_of(' '));
    step.erase(step.find_last_not_of(' ') + 1);
    const size_t equal = std::min(step.find('='), step.size());
    const std::string name = step.substr(0, equal);
    const std::string value = step.substr(std::min(equal + 1, step.size()));
    if (step.empty()) continue;
    if (step == "hflip" || step == "vflip") {
      const int64_t dim = step == "hflip" ? 2 : 1;
      geometry_.push_back([dim](const at::Tensor& image) { return image.flip({dim}); });
    } else if (step == "grey") {
      geometry_.push_back(to_grey);
      grey_ = true;
    } else if (name == "resize" || name == "crop") {
      const auto apply = name == "resize" ? resize : crop;
      geometry_.push_back([apply, size = sizes(step, value), max_pixels](const at::Tensor& x) {
        return apply(x, size, max_pixels);
      });
    } else if (name == "mean" || name == "std") {
      auto& statistics = name == "mean" ? mean_ : std_;
      statistics = numbers<float>(value, '/');
      if (statistics.empty()) throw Error("preprocess: '" + step + "' needs numbers");
    } else {
      throw Error("preprocess: unknown step '" + step + "'");
    }
  }
}

at::Tensor Preprocess::operator()(const at::Tensor& image) const {
  at::Tensor x = image;
  for (const Step& step : geometry_) x = step(x);
  const at::Tensor mean = per_channel("mean", mean_, x.size(0));
  const at::Tensor deviation = per_channel("std", std_, x.size(0));
  return (x.to(at::kFloat) / 255 - mean) / deviation;
}

at::Tensor to_tensor(const Image& image) {
  const at::Tensor x = at::empty({image.height, image.width, image.channels}, at::kByte);
  std::ranges::copy(image.pixels(), x.mutable_data_ptr<uint8_t>());
  return x.permute({2, 0, 1}).contiguous();
}

}  // namespace fmtc::infer
