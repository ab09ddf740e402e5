#include "core/frequencies.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <new>
#include <vector>

#include "core/buffer.h"
#include "core/dct.h"
#include "core/multiversion.h"
#include "core/quantize.h"

namespace fmtc {
namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Blocks that are transformed together: their values stay in the L1 cache.
constexpr int64_t kTogether = 256;

// The transform of kSize values each, of which value i of block b is at [i * stride + b], in place.
template <int kSize, bool kForward>
FMTC_ALWAYS_INLINE void transform_lines(float* values, int64_t blocks, int64_t stride) noexcept {
  for (int64_t b = 0; b < blocks; ++b) {
    float in[kSize], out[kSize];
    for (int i = 0; i < kSize; ++i) in[i] = values[i * stride + b];
    if (kForward) {
      Dct<kSize>::forward(in, out);
    } else {
      Dct<kSize>::inverse(in, out);
    }
    for (int i = 0; i < kSize; ++i) values[i * stride + b] = out[i];
  }
}

// values [kSize y][kSize x][blocks] -> frequencies [kSize fy][kSize fx][blocks], in place.
template <int kSize>
FMTC_ALWAYS_INLINE void transform_forward(float* values, int64_t blocks) noexcept {
  for (int x = 0; x < kSize; ++x) {
    transform_lines<kSize, true>(values + x * blocks, blocks, kSize * blocks);
  }
  for (int fy = 0; fy < kSize; ++fy) {
    transform_lines<kSize, true>(values + fy * (kSize * blocks), blocks, blocks);
  }
}

// The way back.
template <int kSize>
FMTC_ALWAYS_INLINE void transform_back(float* values, int64_t blocks) noexcept {
  for (int fy = 0; fy < kSize; ++fy) {
    transform_lines<kSize, false>(values + fy * (kSize * blocks), blocks, blocks);
  }
  for (int x = 0; x < kSize; ++x) {
    transform_lines<kSize, false>(values + x * blocks, blocks, kSize * blocks);
  }
}

// Whether each of the planes has one place, and no other number is there.
bool have_places(const Frequencies& frequencies) {
  std::vector<bool> seen(static_cast<size_t>(frequencies.planes));
  int64_t found = 0;
  for (const int32_t place : frequencies.places) {
    if (place == -1) continue;
    if (place < 0 || place >= frequencies.planes || seen[static_cast<size_t>(place)]) return false;
    seen[static_cast<size_t>(place)] = true;
    ++found;
  }
  return found == frequencies.planes;
}

// Whether `size` is the product of all sizes, none of which is negative.
bool is_product(size_t size, std::initializer_list<int64_t> sizes) {
  int64_t product = 1;
  for (const int64_t one : sizes) {
    if (one < 0 || __builtin_mul_overflow(product, one, &product)) return false;
  }
  return size == static_cast<size_t>(product);
}

// The sizes of one call.
struct Blocks {
  int64_t size, rows, columns;

  Blocks(const ComponentShape& shape, const Frequencies& frequencies)
      : size(frequencies.size),
        rows(divide_up(shape.height, size)),
        columns(divide_up(shape.width, size)) {}
};

bool valid(const ComponentShape& shape, const Frequencies& frequencies, size_t values,
           size_t levels) {
  if (frequencies.size != 2 && frequencies.size != 4) return false;
  if (shape.height < 0 || shape.width < 0) return false;
  const Blocks blocks(shape, frequencies);
  return frequencies.steps.size() == static_cast<size_t>(frequencies.count()) &&
         std::ranges::all_of(frequencies.steps,
                             [](float step) { return step > 0 && std::isfinite(step); }) &&
         is_product(values, {shape.images, shape.components, shape.height, shape.width}) &&
         is_product(levels, {shape.images, frequencies.planes, blocks.rows, blocks.columns}) &&
         is_product(frequencies.places.size(), {shape.components, frequencies.count()}) &&
         frequencies.planes <= static_cast<int64_t>(frequencies.places.size()) &&
         have_places(frequencies);
}

// The places of a component's frequencies.
std::span<const int32_t> places_of(const Frequencies& frequencies, int64_t component) {
  const auto count = static_cast<size_t>(frequencies.count());
  return frequencies.places.subspan(static_cast<size_t>(component) * count, count);
}

// Some rows of blocks of a component: those from `first` on.
struct Band {
  int64_t first, rows;
};

// The rows of blocks that are transformed together.
int64_t rows_together(const Blocks& blocks) {
  return std::clamp<int64_t>(kTogether / std::max<int64_t>(blocks.columns, 1), 1, blocks.rows);
}

// The values of a band's blocks, [y of the block][x of the block][block], completed.
template <int kSize>
void take_blocks(const float* plane, const ComponentShape& shape, const Blocks& blocks,
                 const Band& band, float* values) {
  const int64_t stride = band.rows * blocks.columns;
  const int64_t whole = shape.width / kSize;  // blocks of a row that need nothing
  for (int64_t row = 0; row < band.rows; ++row) {
    const int64_t top = (band.first + row) * kSize;
    for (int64_t i = 0; i < kSize; ++i) {
      const float* from = plane + (top + mirrored(i, shape.height - top)) * shape.width;
      float* to = values + i * kSize * stride + row * blocks.columns;
      for (int64_t b = 0; b < whole; ++b) {
        for (int64_t x = 0; x < kSize; ++x) to[x * stride + b] = from[b * kSize + x];
      }
      if (whole == blocks.columns) continue;
      const int64_t left = whole * kSize;
      for (int64_t x = 0; x < kSize; ++x) {
        to[x * stride + whole] = from[left + mirrored(x, shape.width - left)];
      }
    }
  }
}

// The way back, of what is there.
template <int kSize>
void put_blocks(const float* values, const ComponentShape& shape, const Blocks& blocks,
                const Band& band, float* plane) {
  const int64_t stride = band.rows * blocks.columns;
  const int64_t whole = shape.width / kSize, left = whole * kSize;
  for (int64_t row = 0; row < band.rows; ++row) {
    const int64_t top = (band.first + row) * kSize;
    const int64_t count = std::min<int64_t>(kSize, shape.height - top);
    for (int64_t i = 0; i < count; ++i) {
      const float* from = values + i * kSize * stride + row * blocks.columns;
      float* to = plane + (top + i) * shape.width;
      for (int64_t b = 0; b < whole; ++b) {
        for (int64_t x = 0; x < kSize; ++x) to[b * kSize + x] = from[x * stride + b];
      }
      for (int64_t x = left; x < shape.width; ++x) to[x] = from[(x - left) * stride + whole];
    }
  }
}

}  // namespace

Status dct_quantize(std::span<const float> y, const ComponentShape& shape,
                    const Frequencies& frequencies, int32_t lo, int32_t hi,
                    std::span<int16_t> levels, int64_t& clamped, const ForEach& for_each) {
  int64_t none = 0;
  const Status checked = quantize(std::span<const float>(), 1.0f, lo, hi, {}, none);
  if (checked != Status::kOk) return checked;
  try {
    if (!valid(shape, frequencies, y.size(), levels.size())) return Status::kBadArgument;
    const Blocks blocks(shape, frequencies);
    const bool small = blocks.size == 2;
    const auto take = small ? take_blocks<2> : take_blocks<4>;
    const auto transform = [small](float* values, int64_t count) {
      return small ? multiversion<transform_forward<2>>(values, count)
                   : multiversion<transform_forward<4>>(values, count);
    };
    std::atomic<int64_t> outside = 0;
    for_each(levels.empty() ? 0 : shape.images * shape.components, [&](int64_t begin, int64_t end) {
      thread_local Buffer<float> space;
      const int64_t together = rows_together(blocks);
      const std::span<float> values =
          space.take(static_cast<size_t>(together * blocks.columns * frequencies.count()));
      int64_t here = 0;
      for (int64_t task = begin; task < end; ++task) {
        const int64_t image = task / shape.components, component = task % shape.components;
        const auto of = places_of(frequencies, component);
        if (std::ranges::all_of(of, [](int32_t place) { return place < 0; })) continue;
        for (int64_t first = 0; first < blocks.rows; first += together) {
          const Band band = {first, std::min(together, blocks.rows - first)};
          const auto count = static_cast<size_t>(band.rows * blocks.columns);
          take(y.data() + task * shape.plane(), shape, blocks, band, values.data());
          transform(values.data(), static_cast<int64_t>(count));
          for (size_t f = 0; f < of.size(); ++f) {
            if (of[f] < 0) continue;
            const int64_t to = (image * frequencies.planes + of[f]) * blocks.rows + first;
            int64_t in_band = 0;
            quantize(std::span<const float>(values).subspan(f * count, count), frequencies.steps[f],
                     lo, hi, levels.subspan(static_cast<size_t>(to * blocks.columns), count),
                     in_band);
            here += in_band;
          }
        }
      }
      outside += here;
    });
    clamped = outside;
  } catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
  }
  return Status::kOk;
}

Status dequantize_dct(std::span<const int16_t> levels, const ComponentShape& shape,
                      const Frequencies& frequencies, std::span<float> y, const ForEach& for_each) {
  try {
    if (!valid(shape, frequencies, y.size(), levels.size())) return Status::kBadArgument;
    const Blocks blocks(shape, frequencies);
    const bool small = blocks.size == 2;
    const auto put = small ? put_blocks<2> : put_blocks<4>;
    const auto transform = [small](float* values, int64_t count) {
      return small ? multiversion<transform_back<2>>(values, count)
                   : multiversion<transform_back<4>>(values, count);
    };
    for_each(y.empty() ? 0 : shape.images * shape.components, [&](int64_t begin, int64_t end) {
      thread_local Buffer<float> space;
      const int64_t together = rows_together(blocks);
      const std::span<float> values =
          space.take(static_cast<size_t>(together * blocks.columns * frequencies.count()));
      for (int64_t task = begin; task < end; ++task) {
        const int64_t image = task / shape.components, component = task % shape.components;
        const auto of = places_of(frequencies, component);
        for (int64_t first = 0; first < blocks.rows; first += together) {
          const Band band = {first, std::min(together, blocks.rows - first)};
          const auto count = static_cast<size_t>(band.rows * blocks.columns);
          for (size_t f = 0; f < of.size(); ++f) {
            const auto to = values.subspan(f * count, count);
            if (of[f] < 0) {
              std::ranges::fill(to, 0.0f);
              continue;
            }
            const int64_t from = (image * frequencies.planes + of[f]) * blocks.rows + first;
            dequantize(levels.subspan(static_cast<size_t>(from * blocks.columns), count),
                       frequencies.steps[f], to);
          }
          transform(values.data(), static_cast<int64_t>(count));
          put(values.data(), shape, blocks, band, y.data() + task * shape.plane());
        }
      }
    });
  } catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
  }
  return Status::kOk;
}

}  // namespace fmtc
