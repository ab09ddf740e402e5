#include "codec/dimensions.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <numeric>

namespace fmtc::codec {
namespace {

int64_t product(std::span<const int64_t> sizes) {
  return std::accumulate(sizes.begin(), sizes.end(), int64_t{1}, std::multiplies<>());
}

// Bytes of [n, a, b, size] as [n, b, a, size].
std::vector<uint8_t> swapped(const std::vector<uint8_t>& bytes, int64_t n, int64_t a, int64_t b,
                             size_t size) {
  if (bytes.empty()) return {};  // whatever the other sizes are
  std::vector<uint8_t> result(bytes.size());
  const uint8_t* from = bytes.data();
  for (int64_t image = 0; image < n; ++image) {
    for (int64_t i = 0; i < a; ++i) {
      for (int64_t j = 0; j < b; ++j, from += size) {
        const auto to = static_cast<size_t>((image * b + j) * a + i);
        std::memcpy(result.data() + to * size, from, size);
      }
    }
  }
  return result;
}

// How a tensor [N, before, C, after] is put together.
struct Parts {
  Parts(std::span<const int64_t> shape, int64_t channel_dim)
      : before(product(shape.subspan(1, static_cast<size_t>(channel_dim) - 1))),
        after(product(shape.subspan(static_cast<size_t>(channel_dim) + 1))) {}

  int64_t before, after;
};

}  // namespace

std::string Dimensions::text(int64_t channel_count) const {
  const std::string count = std::to_string(channel_count);
  if (usual()) return "[N, " + count + ", H, W]";
  std::string text = "[N";
  for (int64_t d = 1; d < rank; ++d) text += d == channels ? ", " + count : ", *";
  return text + "]";
}

std::vector<int64_t> Dimensions::planes_shape(std::span<const int64_t> shape) const {
  std::vector<int64_t> positions(shape.begin() + 1, shape.end());
  positions.erase(positions.begin() + channels - 1);
  const int64_t width = positions.empty() ? 1 : positions.back();
  if (!positions.empty()) positions.pop_back();
  return {shape[0], shape[static_cast<size_t>(channels)], product(positions), width};
}

std::vector<int64_t> Dimensions::shape_of(std::span<const int64_t> planes) const {
  std::vector<int64_t> shape(planes.begin() + 2 + (4 - rank), planes.end());
  shape.insert(shape.begin(), planes[0]);
  shape.insert(shape.begin() + channels, planes[1]);
  return shape;
}

Array Dimensions::planes(const Array& x, int64_t channel_count) const {
  if (static_cast<int64_t>(x.shape.size()) != rank ||
      x.shape[static_cast<size_t>(channels)] != channel_count) {
    throw Error("expected a tensor " + text(channel_count) + ", but its shape is " +
                shape_text(x.shape));
  }
  const Parts parts(x.shape, channels);
  const size_t size = item_size(x.dtype) * static_cast<size_t>(parts.after);
  return {x.dtype, planes_shape(x.shape),
          swapped(x.bytes, x.shape[0], parts.before, channel_count, size)};
}

void Dimensions::require_shape(const std::vector<int64_t>& shape) const {
  if (rank <= 4 || !shape.empty()) return;
  throw Error("the codec is of tensors of " + std::to_string(rank) +
              " dimensions, which streams do not tell apart: give the tensor's shape with --shape, "
              "such as --shape 4,6,3,8,9");
}

Array Dimensions::restored(const Array& planes, const std::vector<int64_t>& given) const {
  require_shape(given);
  const std::vector<int64_t> shape = given.empty() ? shape_of(planes.shape) : given;
  value_count(shape);  // so that its products are numbers
  std::vector<int64_t> expected = planes.shape;
  const bool fits = static_cast<int64_t>(shape.size()) == rank;
  std::vector<int64_t> made = fits ? planes_shape(shape) : shape;
  if (fits && planes.shape[0] == 0) {  // of no images nobody knows the positions
    expected.resize(2);
    made.resize(2);
  }
  if (made != expected) {
    throw Error("the streams are not of a tensor " + shape_text(shape) + ": their planes are " +
                shape_text(planes.shape) + ", and the codec is of tensors " +
                text(planes.shape[1]));
  }
  const Parts parts(shape, channels);
  const size_t size = item_size(planes.dtype) * static_cast<size_t>(parts.after);
  return {planes.dtype, shape,
          swapped(planes.bytes, shape[0], planes.shape[1], parts.before, size)};
}

}  // namespace fmtc::codec
