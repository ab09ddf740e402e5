#include "core/frequencies.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <new>
#include <vector>

#include "core/dct.h"
#include "core/multiversion.h"
#include "core/quantize.h"

namespace fmtc {
namespace {

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// One row of blocks. rows [kSize][blocks * kSize] -> frequencies [kSize * kSize][blocks].
template <int kSize>
FMTC_ALWAYS_INLINE void transform_rows(float* rows, int64_t blocks, float* frequencies) noexcept {
  const int64_t width = blocks * kSize;
  for (int64_t x = 0; x < width; ++x) {
    float in[kSize], out[kSize];
    for (int i = 0; i < kSize; ++i) in[i] = rows[i * width + x];
    Dct<kSize>::forward(in, out);
    for (int i = 0; i < kSize; ++i) rows[i * width + x] = out[i];
  }
  for (int fy = 0; fy < kSize; ++fy) {
    for (int64_t block = 0; block < blocks; ++block) {
      float out[kSize];
      Dct<kSize>::forward(rows + fy * width + block * kSize, out);
      for (int fx = 0; fx < kSize; ++fx) frequencies[(fy * kSize + fx) * blocks + block] = out[fx];
    }
  }
}

// The way back.
template <int kSize>
FMTC_ALWAYS_INLINE void transform_back(const float* frequencies, int64_t blocks,
                                       float* rows) noexcept {
  const int64_t width = blocks * kSize;
  for (int fy = 0; fy < kSize; ++fy) {
    for (int64_t block = 0; block < blocks; ++block) {
      float in[kSize];
      for (int fx = 0; fx < kSize; ++fx) in[fx] = frequencies[(fy * kSize + fx) * blocks + block];
      Dct<kSize>::inverse(in, rows + fy * width + block * kSize);
    }
  }
  for (int64_t x = 0; x < width; ++x) {
    float in[kSize], out[kSize];
    for (int i = 0; i < kSize; ++i) in[i] = rows[i * width + x];
    Dct<kSize>::inverse(in, out);
    for (int i = 0; i < kSize; ++i) rows[i * width + x] = out[i];
  }
}

FMTC_MULTIVERSION void transform_rows_2(float* rows, int64_t blocks, float* out) noexcept {
  transform_rows<2>(rows, blocks, out);
}
FMTC_MULTIVERSION void transform_rows_4(float* rows, int64_t blocks, float* out) noexcept {
  transform_rows<4>(rows, blocks, out);
}
FMTC_MULTIVERSION void transform_back_2(const float* in, int64_t blocks, float* rows) noexcept {
  transform_back<2>(in, blocks, rows);
}
FMTC_MULTIVERSION void transform_back_4(const float* in, int64_t blocks, float* rows) noexcept {
  transform_back<4>(in, blocks, rows);
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

// Rows of a component that one row of blocks holds, completed.
void take_rows(const float* plane, const ComponentShape& shape, const Blocks& blocks, int64_t row,
               float* rows) {
  const int64_t width = blocks.columns * blocks.size, first = row * blocks.size;
  const int64_t last = (blocks.columns - 1) * blocks.size;  // where the last block begins
  for (int64_t i = 0; i < blocks.size; ++i) {
    const int64_t y = first + mirrored(i, shape.height - first);
    float* to = rows + i * width;
    std::copy_n(plane + y * shape.width, shape.width, to);
    for (int64_t x = shape.width; x < width; ++x)
      to[x] = to[last + mirrored(x - last, shape.width - last)];
  }
}

void put_rows(const float* rows, const ComponentShape& shape, const Blocks& blocks, int64_t row,
              float* plane) {
  const int64_t width = blocks.columns * blocks.size;
  const int64_t count = std::min(blocks.size, shape.height - row * blocks.size);
  for (int64_t i = 0; i < count; ++i) {
    std::copy_n(rows + i * width, shape.width, plane + (row * blocks.size + i) * shape.width);
  }
}

// Space for one row of blocks: its values, and their frequencies.
struct Scratch {
  std::vector<float> rows, frequencies;

  explicit Scratch(const Blocks& blocks)
      : rows(static_cast<size_t>(blocks.size * blocks.columns * blocks.size)),
        frequencies(rows.size()) {}
};

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
    const auto columns = static_cast<size_t>(blocks.columns);
    const auto transform = blocks.size == 2 ? transform_rows_2 : transform_rows_4;
    std::atomic<int64_t> outside = 0;
    for_each(levels.empty() ? 0 : shape.images * shape.components, [&](int64_t begin, int64_t end) {
      Scratch scratch(blocks);
      int64_t here = 0;
      for (int64_t task = begin; task < end; ++task) {
        const int64_t image = task / shape.components, component = task % shape.components;
        const auto of = places_of(frequencies, component);
        if (std::ranges::all_of(of, [](int32_t place) { return place < 0; })) continue;
        for (int64_t row = 0; row < blocks.rows; ++row) {
          take_rows(y.data() + task * shape.plane(), shape, blocks, row, scratch.rows.data());
          transform(scratch.rows.data(), blocks.columns, scratch.frequencies.data());
          for (size_t f = 0; f < of.size(); ++f) {
            if (of[f] < 0) continue;
            const int64_t to = (image * frequencies.planes + of[f]) * blocks.rows + row;
            int64_t in_row = 0;
            quantize(std::span<const float>(scratch.frequencies).subspan(f * columns, columns),
                     frequencies.steps[f], lo, hi,
                     levels.subspan(static_cast<size_t>(to) * columns, columns), in_row);
            here += in_row;
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
    const auto columns = static_cast<size_t>(blocks.columns);
    const auto transform = blocks.size == 2 ? transform_back_2 : transform_back_4;
    for_each(y.empty() ? 0 : shape.images * shape.components, [&](int64_t begin, int64_t end) {
      Scratch scratch(blocks);
      for (int64_t task = begin; task < end; ++task) {
        const int64_t image = task / shape.components, component = task % shape.components;
        const auto of = places_of(frequencies, component);
        for (int64_t row = 0; row < blocks.rows; ++row) {
          for (size_t f = 0; f < of.size(); ++f) {
            const auto to = std::span(scratch.frequencies).subspan(f * columns, columns);
            if (of[f] < 0) {
              std::ranges::fill(to, 0.0f);
              continue;
            }
            const int64_t from = (image * frequencies.planes + of[f]) * blocks.rows + row;
            dequantize(levels.subspan(static_cast<size_t>(from) * columns, columns),
                       frequencies.steps[f], to);
          }
          transform(scratch.frequencies.data(), blocks.columns, scratch.rows.data());
          put_rows(scratch.rows.data(), shape, blocks, row, y.data() + task * shape.plane());
        }
      }
    });
  } catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
  }
  return Status::kOk;
}

}  // namespace fmtc
