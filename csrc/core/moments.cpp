#include "core/moments.h"

#include <algorithm>
#include <limits>
#include <new>
#include <vector>

#include "core/multiversion.h"

namespace fmtc {
namespace {

// Centred samples are packed for the multiplication as tiles[pixel tile][channel panel]: a panel
// is kPanel channels wide and kTile pixels deep, pixel by pixel, so that the inner loop reads
// straight on and two panels stay in the L1 cache. Channels are filled up with zeros.
constexpr int64_t kPanel = 8;
constexpr int64_t kTile = 128;
constexpr int64_t kPanelValues = kPanel * kTile;
// A task of the multiplication covers a square of kBand x kBand channel pairs.
constexpr int64_t kBand = 64;
// What is packed at a time.
constexpr int64_t kPackedValues = int64_t{1} << 20;
// With few channels the pixels are split too, so that there is work for this many threads.
constexpr int64_t kTasks = 32;

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <typename T>
struct Planes {
  const T* data;
  int64_t images, channels, plane;

  int64_t pixels() const { return images * plane; }
  const T* row(int64_t image, int64_t channel) const {
    return data + (image * channels + channel) * plane;
  }
};

// Sums with eight interleaved accumulators, which is faster and more accurate than one.
template <typename T>
FMTC_ALWAYS_INLINE double sum(const T* x, int64_t count) {
  double sums[8] = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) {
    for (int64_t j = 0; j < 8; ++j) sums[j] += static_cast<double>(x[i + j]);
  }
  for (int64_t j = 0; i + j < count; ++j) sums[j] += static_cast<double>(x[i + j]);
  return ((sums[0] + sums[1]) + (sums[2] + sums[3])) + ((sums[4] + sums[5]) + (sums[6] + sums[7]));
}

// Writes count centred values of one channel into its place in a panel.
template <typename T>
void pack_channel(const T* x, int64_t count, double mean, double* to) {
  for (int64_t i = 0; i < count; ++i) to[i * kPanel] = static_cast<double>(x[i]) - mean;
}

// Packs `depth` pixels from `first` on of one panel of channels.
template <typename T>
void pack_panel(const Planes<T>& x, std::span<const double> mean, int64_t panel, int64_t first,
                int64_t depth, double* packed) {
  for (int64_t i = 0; i < kPanel; ++i) {
    const int64_t channel = panel * kPanel + i;
    if (channel >= x.channels) {
      for (int64_t pixel = 0; pixel < depth; ++pixel) packed[pixel * kPanel + i] = 0;
      continue;
    }
    for (int64_t done = 0; done < depth;) {
      const int64_t image = (first + done) / x.plane;
      const int64_t offset = (first + done) % x.plane;
      const int64_t count = std::min(depth - done, x.plane - offset);
      pack_channel(x.row(image, channel) + offset, count, mean[static_cast<size_t>(channel)],
                   packed + done * kPanel + i);
      done += count;
    }
  }
}

// out[4, 8] += a^T b for the first four channels of panel a and all eight of panel b: what the
// registers of AVX2 hold.
FMTC_ALWAYS_INLINE void multiply_panels(const double* a, const double* b, int64_t depth,
                                        double* out, int64_t stride) {
  double sums[4][8] = {};
  for (int64_t k = 0; k < depth; ++k) {
    for (int i = 0; i < 4; ++i) {
      for (int j = 0; j < 8; ++j) sums[i][j] += a[k * kPanel + i] * b[k * kPanel + j];
    }
  }
  for (int i = 0; i < 4; ++i) {
    for (int j = 0; j < 8; ++j) out[i * stride + j] += sums[i][j];
  }
}

// How the work on a tensor is split; depends on its shape alone.
struct Plan {
  explicit Plan(int64_t channels)
      : panels(divide_up(channels, kPanel)),
        padded(panels * kPanel),
        bands(divide_up(padded, kBand)),
        pairs(bands * (bands + 1) / 2),
        slabs(divide_up(kTasks, pairs)),
        tiles_at_once(divide_up(kPackedValues, padded * kTile * slabs) * slabs) {}

  int64_t panels, padded;  // channel panels; channels with the filling
  int64_t bands, pairs;    // of kBand channels; pairs of them with row >= column
  int64_t slabs;           // sets of pixel tiles that are summed apart
  int64_t tiles_at_once;   // pixel tiles that are packed at a time
};

// Row and column of pair `pair` of bands, counted along the rows of the lower triangle.
struct BandPair {
  explicit BandPair(int64_t pair) {
    while (pair > row) pair -= ++row;
    column = pair;
  }
  int64_t row = 0;
  int64_t column = 0;
};

class Accumulator {
 public:
  Accumulator(const Plan& plan, int64_t tiles)
      : plan_(plan),
        packed_(
            static_cast<size_t>(std::min(tiles, plan.tiles_at_once) * plan.panels * kPanelValues)),
        sums_(static_cast<size_t>(plan.slabs * plan.padded * plan.padded)) {}

  // Adds the products of pixels [first, first + count), at most tiles_at_once tiles.
  template <typename T>
  void add(const Planes<T>& x, std::span<const double> mean, int64_t first, int64_t count,
           const ForEach& for_each) {
    const int64_t tiles = divide_up(count, kTile);
    for_each(tiles * plan_.panels, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t pixel = i / plan_.panels * kTile;
        pack_panel(x, mean, i % plan_.panels, first + pixel, std::min(kTile, count - pixel),
                   packed_.data() + i * kPanelValues);
      }
    });
    for_each(plan_.slabs * plan_.pairs, [&](int64_t begin, int64_t end) {
      for (int64_t task = begin; task < end; ++task) {
        multiply(task / plan_.pairs, BandPair(task % plan_.pairs), count);
      }
    });
  }

  // Sums the slabs in order into both triangles of m2.
  void reduce(int64_t channels, std::span<double> m2) const {
    for (int64_t i = 0; i < channels; ++i) {
      for (int64_t j = 0; j <= i; ++j) {
        double sum = 0;
        for (int64_t slab = 0; slab < plan_.slabs; ++slab) sum += *sums(slab, i, j);
        m2[static_cast<size_t>(i * channels + j)] = sum;
        m2[static_cast<size_t>(j * channels + i)] = sum;
      }
    }
  }

 private:
  double* sums(int64_t slab, int64_t i, int64_t j) {
    return sums_.data() + (slab * plan_.padded + i) * plan_.padded + j;
  }
  const double* sums(int64_t slab, int64_t i, int64_t j) const {
    return sums_.data() + (slab * plan_.padded + i) * plan_.padded + j;
  }

  // One pair of bands over every tile of a slab.
  void multiply(int64_t slab, BandPair pair, int64_t count) {
    constexpr int64_t kPanels = kBand / kPanel;
    const int64_t row_end = std::min((pair.row + 1) * kPanels, plan_.panels);
    const int64_t column_end = std::min((pair.column + 1) * kPanels, plan_.panels);
    for (int64_t tile = slab; tile * kTile < count; tile += plan_.slabs) {
      const int64_t depth = std::min(kTile, count - tile * kTile);
      const double* panels = packed_.data() + tile * plan_.panels * kPanelValues;
      for (int64_t r = pair.row * kPanels; r < row_end; ++r) {
        for (int64_t c = pair.column * kPanels; c < std::min(column_end, r + 1); ++c) {
          const double* a = panels + r * kPanelValues;
          const double* b = panels + c * kPanelValues;
          double* out = sums(slab, r * kPanel, c * kPanel);
          multiversion<multiply_panels>(a, b, depth, out, plan_.padded);
          multiversion<multiply_panels>(a + 4, b, depth, out + 4 * plan_.padded, plan_.padded);
        }
      }
    }
  }

  Plan plan_;
  std::vector<double> packed_;  // [tiles, panels, kTile, kPanel]
  std::vector<double> sums_;    // [slabs, padded, padded], the lower triangle
};

template <typename T>
void compute_means(const Planes<T>& x, std::span<double> mean, const ForEach& for_each) {
  for_each(x.channels, [&](int64_t begin, int64_t end) {
    for (int64_t channel = begin; channel < end; ++channel) {
      double total = 0;
      for (int64_t image = 0; image < x.images; ++image) {
        total += multiversion<sum<T>>(x.row(image, channel), x.plane);
      }
      mean[static_cast<size_t>(channel)] = total / static_cast<double>(x.pixels());
    }
  });
}

template <typename T>
void compute_moments(const Planes<T>& x, std::span<double> mean, std::span<double> m2,
                     const ForEach& for_each) {
  compute_means(x, mean, for_each);
  const Plan plan(x.channels);
  Accumulator accumulator(plan, divide_up(x.pixels(), kTile));
  const int64_t pixels_at_once = plan.tiles_at_once * kTile;
  for (int64_t first = 0; first < x.pixels(); first += pixels_at_once) {
    accumulator.add(x, mean, first, std::min(pixels_at_once, x.pixels() - first), for_each);
  }
  accumulator.reduce(x.channels, m2);
}

// Whether a * b = size for non-negative numbers.
bool is_product(size_t size, int64_t a, int64_t b) {
  int64_t product = 0;
  return a >= 0 && b >= 0 && !__builtin_mul_overflow(a, b, &product) &&
         size == static_cast<size_t>(product);
}

template <typename T>
Status checked_moments(std::span<const T> x, int64_t images, int64_t channels, int64_t plane,
                       std::span<double> mean, std::span<double> m2, const ForEach& for_each) {
  int64_t pixels = 0;
  if (images < 0 || plane < 0 || __builtin_mul_overflow(images, plane, &pixels) ||
      !is_product(x.size(), pixels, channels) || !is_product(mean.size(), channels, 1) ||
      !is_product(m2.size(), channels, channels)) {
    return Status::kBadArgument;
  }
  if (x.empty()) {
    std::fill(mean.begin(), mean.end(), 0.0);
    std::fill(m2.begin(), m2.end(), 0.0);
    return Status::kOk;
  }
  try {
    compute_moments(Planes<T>{x.data(), images, channels, plane}, mean, m2, for_each);
  } catch (const std::bad_alloc&) {
    return Status::kOutOfMemory;
  }
  return Status::kOk;
}

}  // namespace

void for_each_serial(int64_t count, const std::function<void(int64_t, int64_t)>& body) {
  body(0, count);
}

Status channel_moments(std::span<const float> x, int64_t images, int64_t channels, int64_t plane,
                       std::span<double> mean, std::span<double> m2, const ForEach& for_each) {
  return checked_moments(x, images, channels, plane, mean, m2, for_each);
}

Status channel_moments(std::span<const double> x, int64_t images, int64_t channels, int64_t plane,
                       std::span<double> mean, std::span<double> m2, const ForEach& for_each) {
  return checked_moments(x, images, channels, plane, mean, m2, for_each);
}

Status merge_moments(int64_t count_a, std::span<const double> mean_a, std::span<const double> m2_a,
                     int64_t count_b, std::span<const double> mean_b, std::span<const double> m2_b,
                     int64_t& count, std::span<double> mean, std::span<double> m2) noexcept {
  const size_t channels = mean_a.size();
  if (count_a < 0 || count_b < 0 || count_a > std::numeric_limits<int64_t>::max() - count_b ||
      mean_b.size() != channels || mean.size() != channels || m2_a.size() != channels * channels ||
      m2_b.size() != m2_a.size() || m2.size() != m2_a.size()) {
    return Status::kBadArgument;
  }
  const Merge merge{count_a, count_b};
  count = merge.count();
  for (size_t i = 0; i < channels; ++i) {
    mean[i] = merge.mean(mean_a[i], mean_b[i]);
    for (size_t j = 0; j < channels; ++j) {
      const size_t ij = i * channels + j;
      m2[ij] = merge.m2(m2_a[ij], m2_b[ij], mean_b[i] - mean_a[i], mean_b[j] - mean_a[j]);
    }
  }
  return Status::kOk;
}

}  // namespace fmtc
