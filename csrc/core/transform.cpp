#include "core/transform.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <new>

#include "core/buffer.h"
#include "core/multiversion.h"
#include "core/quantize.h"

namespace fmtc {
namespace {

// Pixels are taken in tiles [column][pixel], whatever images they belong to, to which they are
// copied, as columns may lie far apart. The inner loop makes kRows rows of a strip of a tile, whose
// pixels are kStrip at most.
constexpr int64_t kStrip = 32;
constexpr int64_t kRows = 6;
// A tile stays in the L2 cache; long rows of pixels are what memory is fast at. 16 strips would put
// the rows so far apart that they take the same lines of the L1 cache.
constexpr int64_t kTileValues = int64_t{1} << 16;
constexpr int64_t kSmallestTile = 2 * kStrip;
constexpr int64_t kLargestTile = 15 * kStrip;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Loops over arrays of floats do not stay in registers; arrays of these do, where each is read and
// written as a whole and all loops over them are unrolled.
typedef float Floats8 __attribute__((vector_size(32)));
typedef float Floats16 __attribute__((vector_size(64)));

template <typename Floats>
FMTC_ALWAYS_INLINE void load(const float* from, Floats& to) {
  std::memcpy(&to, from, sizeof(to));
}
template <typename Floats>
FMTC_ALWAYS_INLINE void store(const Floats& from, float* to) {
  std::memcpy(to, &from, sizeof(from));
}

// The rows of a matrix that are multiplied together, and their offsets.
struct Panel {
  const float* rows[kRows];
  float offset[kRows];
};

// out[row][i] = sum over k of rows[row][k] * b[k][i], and the row's offset, for as many pixels as
// so many vectors have. The sums of two vectors are what AVX2 can hold in registers.
template <typename Floats, int64_t kVectors>
FMTC_ALWAYS_INLINE void multiply_strip(const Panel& panel, const float* b, int64_t depth,
                                       float* out, int64_t stride) {
  constexpr int64_t kFloats = sizeof(Floats) / sizeof(float);
  const float* rows[kRows];
  std::copy_n(panel.rows, kRows, rows);
  Floats sums[kRows][kVectors] = {};
  for (int64_t k = 0; k < depth; ++k, b += stride) {
    Floats pixels[kVectors];
#pragma GCC unroll 8
    for (int64_t i = 0; i < kVectors; ++i) load(b + i * kFloats, pixels[i]);
#pragma GCC unroll 8
    for (int64_t row = 0; row < kRows; ++row) {
#pragma GCC unroll 8
      for (int64_t i = 0; i < kVectors; ++i) sums[row][i] += rows[row][k] * pixels[i];
    }
  }
#pragma GCC unroll 8
  for (int64_t row = 0; row < kRows; ++row) {
#pragma GCC unroll 8
    for (int64_t i = 0; i < kVectors; ++i) {
      const Floats sum = sums[row][i] + panel.offset[row];
      store(sum, out + row * stride + i * kFloats);
    }
  }
}

// The same for so many pixels, and those behind them up to a whole vector.
template <typename Floats>
FMTC_ALWAYS_INLINE void multiply_pixels(const Panel& panel, const float* b, int64_t depth,
                                        int64_t pixels, float* out, int64_t stride) {
  constexpr int64_t kFloats = sizeof(Floats) / sizeof(float);
  int64_t at = 0;
  for (; at + kFloats < pixels; at += 2 * kFloats) {
    multiply_strip<Floats, 2>(panel, b + at, depth, out + at, stride);
  }
  if (at < pixels) multiply_strip<Floats, 1>(panel, b + at, depth, out + at, stride);
}

// The same with the widest vectors of this CPU.
void multiply_pixels_here(const Panel& panel, const float* b, int64_t depth, int64_t pixels,
                          float* out, int64_t stride) {
#if defined(__x86_64__)
  if (cpu_simd() == Simd::kAvx512) {
    run_avx512<multiply_pixels<Floats16>>(panel, b, depth, pixels, out, stride);
    return;
  }
#endif
  multiversion<multiply_pixels<Floats8>>(panel, b, depth, pixels, out, stride);
}

// The rows of a matrix from `first` on. Where it has fewer than kRows, the last one stands for
// more.
Panel panel_of(const ChannelMatrix& matrix, int64_t first) {
  Panel panel;
  for (int64_t i = 0; i < kRows; ++i) {
    const int64_t row = std::min(first + i, matrix.rows() - 1);
    panel.rows[i] = matrix.values.data() + row * matrix.columns();
    panel.offset[i] = matrix.offset[static_cast<size_t>(row)];
  }
  return panel;
}

// Calls body(index, image, offset, count) for the parts of a tile that lie in one image: `count`
// pixels from number `index` of the tile, which are the image's from `offset` on.
template <typename Body>
void for_each_part(int64_t first, int64_t pixels, int64_t plane, const Body& body) {
  for (int64_t done = 0; done < pixels;) {
    const int64_t image = (first + done) / plane, offset = (first + done) % plane;
    const int64_t count = std::min(pixels - done, plane - offset);
    body(done, image, offset, count);
    done += count;
  }
}

// Pixels of a tile, a multiple of kStrip.
int64_t tile_of(int64_t columns) {
  const int64_t pixels = kTileValues / std::max<int64_t>(columns, 1) / kStrip * kStrip;
  return std::clamp(pixels, kSmallestTile, kLargestTile);
}

// Multiplies all pixels, a tile after the other.
//   load(image, column, offset, count, row)   writes a column's pixels to row[count]
//   store(image, row, offset, count, values)  takes those of a row of the product
template <typename Load, typename Store>
void multiply(const ChannelMatrix& matrix, int64_t images, int64_t plane, const ForEach& for_each,
              const Load& load, const Store& store) {
  const int64_t columns = matrix.columns();
  const int64_t all = images * plane, size = tile_of(columns);
  for_each(divide_up(all, size), [&](int64_t begin, int64_t end) {
    thread_local Buffer<float> space;
    const std::span<float> in = space.take(static_cast<size_t>(size * columns));
    for (int64_t tile = begin; tile < end; ++tile) {
      const int64_t first = tile * size, pixels = std::min(size, all - first);
      const int64_t used = divide_up(pixels, kStrip);
      for (int64_t k = 0; k < columns; ++k) {
        float* row = in.data() + k * size;
        for_each_part(first, pixels, plane, [&](auto index, auto image, auto offset, auto count) {
          load(image, k, offset, count, row + index);
        });
        std::fill(row + pixels, row + used * kStrip, 0.0f);
      }
      for (int64_t top = 0; top < matrix.rows(); top += kRows) {
        float out[kRows * kLargestTile];
        multiply_pixels_here(panel_of(matrix, top), in.data(), columns, pixels, out, size);
        const int64_t rows = std::min(kRows, matrix.rows() - top);
        for_each_part(first, pixels, plane, [&](auto index, auto image, auto offset, auto count) {
          for (int64_t row = 0; row < rows; ++row) {
            store(image, top + row, offset, count, out + row * size + index);
          }
        });
      }
    }
  });
}

FMTC_ALWAYS_INLINE void limit(const float* values, int64_t count, float least, float most,
                              float* out) {
  for (int64_t i = 0; i < count; ++i) {
    const float raised = values[i] < least ? least : values[i];
    out[i] = raised > most ? most : raised;
  }
}

// Whether `size` is images * channels * plane.
bool holds(size_t size, int64_t images, int64_t channels, int64_t plane) {
  int64_t product = 0;
  return images >= 0 && plane >= 0 && !__builtin_mul_overflow(images, plane, &product) &&
         !__builtin_mul_overflow(product, channels, &product) &&
         size == static_cast<size_t>(product);
}

bool valid(const ChannelMatrix& matrix, size_t in, size_t out, int64_t images, int64_t plane) {
  return matrix.values.size() == static_cast<size_t>(matrix.rows() * matrix.columns()) &&
         holds(out, images, matrix.rows(), plane) &&
         (matrix.rows() == 0 || holds(in, images, matrix.columns(), plane));
}

// What takes the rows of a product to out [images, rows, plane], limited.
auto store_limited(const ChannelMatrix& matrix, int64_t plane, float least, float most,
                   std::span<float> out) {
  return [rows = matrix.rows(), plane, least, most, out](int64_t image, int64_t row, int64_t offset,
                                                         int64_t count, const float* values) {
    multiversion<limit>(values, count, least, most,
                        out.data() + (image * rows + row) * plane + offset);
  };
}

// What loads the pixels of x [images, columns, plane].
auto load_values(const ChannelMatrix& matrix, int64_t plane, std::span<const float> x) {
  return [columns = matrix.columns(), plane, x](int64_t image, int64_t column, int64_t offset,
                                                int64_t count, float* row) {
    std::copy_n(x.data() + (image * columns + column) * plane + offset, count, row);
  };
}

}  // namespace

Status transform_channels(std::span<const float> x, int64_t images, int64_t plane,
                          const ChannelMatrix& matrix, float least, float most, std::span<float> y,
                          const ForEach& for_each) {
  if (!valid(matrix, x.size(), y.size(), images, plane) || !(least <= most)) {
    return Status::kBadArgument;
  }
  if (y.empty()) return Status::kOk;
  try {
    multiply(matrix, images, plane, for_each, load_values(matrix, plane, x),
             store_limited(matrix, plane, least, most, y));
  } catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
  }
  return Status::kOk;
}

Status transform_quantize(std::span<const float> x, int64_t images, int64_t plane,
                          const ChannelMatrix& matrix, float step, int32_t lo, int32_t hi,
                          std::span<int16_t> levels, int64_t& clamped, const ForEach& for_each) {
  if (!valid(matrix, x.size(), levels.size(), images, plane)) return Status::kBadArgument;
  const Status checked = quantize(std::span<const float>(), step, lo, hi, {}, clamped);
  if (checked != Status::kOk || levels.empty()) return checked;
  try {
    const int64_t rows = matrix.rows();
    std::atomic<int64_t> outside = 0;
    multiply(matrix, images, plane, for_each, load_values(matrix, plane, x),
             [&](int64_t image, int64_t row, int64_t offset, int64_t count, const float* values) {
               int64_t here = 0;
               const auto size = static_cast<size_t>(count);
               quantize(std::span(values, size), step, lo, hi,
                        std::span(levels.data() + (image * rows + row) * plane + offset, size),
                        here);
               if (here != 0) outside += here;
             });
    clamped = outside;
  } catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
  }
  return Status::kOk;
}

Status dequantize_transform(std::span<const int16_t> levels, int64_t images, int64_t plane,
                            const ChannelMatrix& matrix, float step, float least, float most,
                            std::span<float> x, const ForEach& for_each) {
  if (!valid(matrix, levels.size(), x.size(), images, plane) || !std::isfinite(step) ||
      !(least <= most)) {
    return Status::kBadArgument;
  }
  if (x.empty()) return Status::kOk;
  try {
    const int64_t columns = matrix.columns();
    multiply(
        matrix, images, plane, for_each,
        [&](int64_t image, int64_t column, int64_t offset, int64_t count, float* row) {
          const auto size = static_cast<size_t>(count);
          dequantize(std::span(levels.data() + (image * columns + column) * plane + offset, size),
                     step, std::span(row, size));
        },
        store_limited(matrix, plane, least, most, x));
  } catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
  }
  return Status::kOk;
}

}  // namespace fmtc
