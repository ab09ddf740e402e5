#include "codec/tensor_codec.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "core/positions.h"
#include "core/quantize.h"
#include "core/transform.h"

namespace fmtc::codec {
namespace {

using PlaneMap = Eigen::Map<Plane>;
using ConstPlaneMap = Eigen::Map<const Plane>;

void check(Status status) {
  if (status != Status::kOk) throw Error(message(status));
}

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Part `index` of values that are consecutive parts of `size`.
template <typename T>
std::span<T> part(std::vector<T>& all, int64_t index, int64_t size) {
  return std::span(all).subspan(static_cast<size_t>(index * size), static_cast<size_t>(size));
}
template <typename T>
std::span<const T> part(std::span<T> all, int64_t index, int64_t size) {
  return all.subspan(static_cast<size_t>(index * size), static_cast<size_t>(size));
}

// How an image [channels, height, width] is cut into blocks. Channels, rows and columns that
// complete the last blocks repeat the last ones.
struct Cut {
  int64_t channels, height, width;
  int64_t h, w, c;
  int64_t rows = divide_up(height, h);
  int64_t columns = divide_up(width, w);
  int64_t in_blocks = divide_up(channels, c) * c * h * w;  // values at one position of blocks

  int64_t positions() const { return rows * columns; }
  // Calls f(index in the blocks [in_blocks, rows, columns], index in the image, whether the value
  // is padding).
  template <typename F>
  void for_each(F f) const {
    for (int64_t i = 0; i < in_blocks; ++i) {
      const int64_t channel = i / (h * w), dy = i / w % h, dx = i % w;
      for (int64_t row = 0; row < rows; ++row) {
        for (int64_t column = 0; column < columns; ++column) {
          const int64_t y = row * h + dy, x = column * w + dx;
          const bool padding = channel >= channels || y >= height || x >= width;
          const int64_t source =
              (std::min(channel, channels - 1) * height + std::min(y, height - 1)) * width +
              std::min(x, width - 1);
          f((i * rows + row) * columns + column, source, padding);
        }
      }
    }
  }
};

Cut make_cut(const TensorCodec& codec, int64_t height, int64_t width) {
  const int64_t depth =
      codec.block.c == 0 ? codec.channels : std::min(codec.block.c, codec.channels);
  return {codec.channels, height, width, codec.block.h, codec.block.w, depth};
}

std::span<const float> values_of(const Plane& plane) {
  return {plane.data(), static_cast<size_t>(plane.size())};
}

// Rows of a plane: `count` from number `first` on.
std::span<const float> rows_of(const Plane& plane, Eigen::Index first, Eigen::Index count) {
  return {plane.data() + first * plane.cols(), static_cast<size_t>(count * plane.cols())};
}
std::span<float> rows_of(Plane& plane, Eigen::Index first, Eigen::Index count) {
  return {plane.data() + first * plane.cols(), static_cast<size_t>(count * plane.cols())};
}

// y = matrix x + offset for the columns of x, as Python's operators round it.
void multiply(const Plane& matrix, const Eigen::VectorXf& offset, std::span<const float> x,
              Eigen::Index positions, std::span<float> y) {
  constexpr float kNoLimit = std::numeric_limits<float>::infinity();
  const ChannelMatrix product = {values_of(matrix),
                                 {offset.data(), static_cast<size_t>(offset.size())}};
  check(transform_channels(x, 1, positions, product, -kNoLimit, kNoLimit, y));
}

// blocks [in_blocks, positions] -> components [K, positions]
void transform(const TensorCodec& codec, const Plane& blocks, Plane& components) {
  Eigen::Index from = 0, to = 0;
  for (const Transform& group : codec.transforms) {
    const Eigen::Index n = group.matrix.cols(), k = group.matrix.rows();
    multiply(group.matrix, group.offset, rows_of(blocks, from, n), blocks.cols(),
             rows_of(components, to, k));
    from += n;
    to += k;
  }
  if (codec.transforms.empty()) components = blocks;
}

void transform_back(const TensorCodec& codec, const Plane& components, Plane& blocks) {
  Eigen::Index from = 0, to = 0;
  for (const Transform& group : codec.transforms) {
    const Eigen::Index n = group.matrix.cols(), k = group.matrix.rows();
    multiply(group.inverse, group.mean, rows_of(components, to, k), blocks.cols(),
             rows_of(blocks, from, n));
    from += n;
    to += k;
  }
  if (codec.transforms.empty()) blocks = components;
}

const Quantizer& quantizer_of(const TensorCodec& codec, int64_t component) {
  return codec.quantizers[codec.quantizers.size() == 1 ? 0 : static_cast<size_t>(component)];
}

ComponentShape shape_of(const Plane& values, const Cut& cut) {
  return {1, values.rows(), cut.rows, cut.columns};
}

// Levels [planes, rows, columns] of components [K, positions]; returns how many were clamped.
int64_t quantize_image(const TensorCodec& codec, const Cut& cut, const Plane& values,
                       std::span<int16_t> levels) {
  int64_t clamped = 0;
  if (codec.scaled) {
    const auto count = static_cast<size_t>(values.cols());
    check(quantize_scaled(values_of(values), static_cast<uint64_t>(values.rows()), *codec.scaled, 0,
                          count, levels, clamped));
    return clamped;
  }
  if (codec.frequencies) {
    check(dct_quantize(values_of(values), shape_of(values, cut), codec.frequencies->view(),
                       codec.quantizers.front().lo, codec.quantizers.front().hi, levels, clamped));
    return clamped;
  }
  int64_t all_clamped = 0;
  for (int64_t k = 0; k < values.rows(); ++k) {
    const Quantizer& quantizer = quantizer_of(codec, k);
    const auto count = static_cast<size_t>(values.cols());
    check(quantize(std::span<const float>(&values(k, 0), count), quantizer.step, quantizer.lo,
                   quantizer.hi, levels.subspan(static_cast<size_t>(k) * count, count), clamped));
    all_clamped += clamped;
  }
  return all_clamped;
}

void dequantize_image(const TensorCodec& codec, const Cut& cut, std::span<const int16_t> levels,
                      Plane& values) {
  const std::span<float> all(values.data(), static_cast<size_t>(values.size()));
  if (codec.scaled) {
    const auto count = static_cast<size_t>(values.cols());
    check(dequantize_scaled(levels, static_cast<uint64_t>(values.rows()), *codec.scaled, 0, count,
                            all));
    return;
  }
  if (codec.frequencies) {
    check(dequantize_dct(levels, shape_of(values, cut), codec.frequencies->view(), all));
    return;
  }
  for (int64_t k = 0; k < values.rows(); ++k) {
    const auto count = static_cast<size_t>(values.cols());
    check(dequantize(levels.subspan(static_cast<size_t>(k) * count, count),
                     quantizer_of(codec, k).step, std::span(&values(k, 0), count)));
  }
}

// Rows of the matrix of components of one image.
int64_t transformed_rows(const TensorCodec& codec) {
  if (codec.frequencies) return codec.frequencies->components();
  if (!codec.scaled) return codec.components();
  return static_cast<int64_t>(
      channels_of(static_cast<uint64_t>(codec.components()), codec.scaled->block));
}

// What the sources of one image tell of its other components (core/predict_sources.h).
class CrossSums {
 public:
  CrossSums(const TensorCodec& codec, const StreamHeader& header)
      : codec_(codec),
        space_(Sources::space(codec.sources, header.height, header.width)),
        sources_(space_, header.height, header.width),
        sums_(codec.sources == 0 ? 0 : header.plane()) {}

  // Takes the levels of component k.
  void add(int64_t k, std::span<const int16_t> levels) {
    if (k < codec_.sources) sources_.set(static_cast<uint32_t>(k), levels);
  }
  // Of component k, those before it having been added; empty where it is nothing.
  std::span<const uint32_t> of(int64_t k) {
    const size_t before = sources_of(static_cast<uint64_t>(k), codec_.sources) * kWindow;
    const size_t begin = static_cast<size_t>(k) * codec_.sources * kWindow;
    const auto coefficients = std::span(codec_.cross).subspan(begin, before);
    if (!sources_.tell(coefficients, sums_)) return {};
    return sums_;
  }

 private:
  const TensorCodec& codec_;
  std::vector<int16_t> space_;
  Sources sources_;
  std::vector<uint32_t> sums_;
};

// The planes of symbols of one image's levels [K, plane]: what prediction leaves, with the low bits
// of wide components in planes behind all others (fmtc/codec/prediction.py).
std::vector<int16_t> make_symbols(const TensorCodec& codec, std::span<const int16_t> levels,
                                  const StreamHeader& header) {
  const auto plane = static_cast<int64_t>(header.plane());
  std::vector<int16_t> symbols(static_cast<size_t>(codec.planes() * plane));
  int64_t low_plane = codec.components();
  CrossSums cross(codec, header);
  for (int64_t k = 0; k < codec.components(); ++k) {
    const auto index = static_cast<size_t>(k);
    const auto high = part(symbols, k, plane);
    check(predict_plane(part(levels, k, plane), header.width, codec.prediction[index], high,
                        cross.of(k)));
    cross.add(k, part(levels, k, plane));
    const int shift = codec.shifts[index];
    if (shift == 0) continue;
    const auto low = part(symbols, low_plane++, plane);
    for (size_t i = 0; i < high.size(); ++i) {
      low[i] = static_cast<int16_t>(high[i] & ((1 << shift) - 1));
      high[i] = static_cast<int16_t>(high[i] >> shift);
    }
  }
  return symbols;
}

void restore_levels(const TensorCodec& codec, std::vector<int16_t>& symbols,
                    const StreamHeader& header, std::span<int16_t> levels) {
  const auto plane = static_cast<int64_t>(header.plane());
  int64_t low_plane = codec.components();
  CrossSums cross(codec, header);
  for (int64_t k = 0; k < codec.components(); ++k) {
    const auto index = static_cast<size_t>(k);
    const auto high = part(symbols, k, plane);
    const int shift = codec.shifts[index];
    if (shift > 0) {
      const auto low = part(symbols, low_plane++, plane);
      for (size_t i = 0; i < high.size(); ++i) {
        high[i] = static_cast<int16_t>(static_cast<uint16_t>(high[i]) << shift | low[i]);
      }
    }
    const auto restored = levels.subspan(static_cast<size_t>(k * plane), high.size());
    check(unpredict_plane(high, header.width, codec.prediction[index], restored, cross.of(k)));
    cross.add(k, restored);
  }
}

// Symbols in the order in which they are coded where positions have classes
// (fmtc/codec/positions.py).
std::vector<int16_t> arrange_symbols(const TensorCodec& codec, std::span<const int16_t> symbols,
                                     StreamHeader& header) {
  Layout layout = header.layout();
  std::vector<int64_t> activity(layout.map_size());
  check(position_activity(symbols, header.height, header.width, codec.weights, activity));
  std::vector<uint8_t> map(activity.size());
  std::ranges::transform(activity, map.begin(), [&](int64_t value) {
    const auto above = std::ranges::upper_bound(codec.thresholds, value);
    return static_cast<uint8_t>(above - codec.thresholds.begin());
  });
  check(count_positions(map, layout));
  header.positions = layout.positions;
  std::vector<int16_t> values(layout.values());
  check(arrange(symbols, map, layout, values));
  return values;
}

StreamHeader header_of(const TensorCodec& codec, uint32_t height, uint32_t width,
                       uint8_t crop_h = 0, uint8_t crop_w = 0) {
  return make_header(codec.tables.coder, static_cast<uint32_t>(codec.planes()), height, width,
                     codec.tables.id, crop_h, crop_w, static_cast<uint8_t>(codec.classes()),
                     codec.tables.lane_values);
}

void encode_image(const TensorCodec& codec, std::span<const int16_t> levels, StreamHeader header,
                  std::vector<uint8_t>& streams) {
  check(check_shape(header));
  std::vector<int16_t> symbols = make_symbols(codec, levels, header);
  if (header.classes > 1) symbols = arrange_symbols(codec, symbols, header);
  const Tables& tables = codec.tables;
  const ComponentTables coded_by = {tables.lo, tables.encode_width, tables.encode_entries,
                                    tables.table_of, header.plane()};
  check(check_encode_tables(header, coded_by));
  const size_t begin = streams.size();
  streams.resize(begin + stream_bound(header));
  size_t used = 0;
  check(stream_encode(header, symbols, coded_by, std::span(streams).subspan(begin), used));
  streams.resize(begin + used);
}

void decode_image(const TensorCodec& codec, std::span<const uint8_t> stream,
                  const StreamHeader& header, std::span<int16_t> levels) {
  const StreamHeader expected = header_of(codec, header.height, header.width);
  const Tables& tables = codec.tables;
  const ComponentTables coded_by = {tables.lo,       tables.decode_width, tables.decode_entries,
                                    tables.table_of, header.plane(),      tables.base};
  check(check_decode_tables(header, coded_by));
  std::vector<int16_t> symbols(header.values());
  check(stream_decode(stream, expected, coded_by, symbols));
  if (header.classes > 1) {
    std::vector<int16_t> restored(header.layout().levels());
    check(restore(symbols, header.layout(), restored));
    symbols = std::move(restored);
  }
  restore_levels(codec, symbols, header, levels);
}

struct OpenStream {
  StreamHeader header;
  std::span<const uint8_t> bytes;
};

// The first of these streams, of image `n`, if it is one of the codec's. Error otherwise, or where
// so many images of its size have more values than max_values.
OpenStream open_first(const TensorCodec& codec, std::span<const uint8_t> streams, uint64_t n,
                      uint64_t max_values) {
  OpenStream stream;
  StreamHeader& header = stream.header;
  size_t size = 0;
  check(read_header(streams, header, size));
  check(check_expected(header, header_of(codec, header.height, header.width)));
  if (header.plane() == 0) throw Error("the image has no pixels");
  const Block tile = codec.tile();
  if (header.crop_h >= tile.h || header.crop_w >= tile.w) {
    throw Error("the stream's block padding is not that of the codec's blocks");
  }
  check(check_limit(header, n + 1, max_values));
  const Cut cut = make_cut(codec, tile.h, tile.w);
  const auto of_position = static_cast<uint64_t>(cut.in_blocks * cut.positions());
  if (max_values / header.plane() / of_position <= n) {
    check(Status::kOverLimit);
  }
  stream.bytes = streams.first(size);
  return stream;
}

bool same_size(const StreamHeader& a, const StreamHeader& b) {
  return a.height == b.height && a.width == b.width && a.crop_h == b.crop_h && a.crop_w == b.crop_w;
}

// All of them. Error where they hold images of different sizes.
std::vector<OpenStream> open_streams(const TensorCodec& codec, std::span<const uint8_t> streams,
                                     uint64_t max_values) {
  std::vector<OpenStream> opened;
  while (!streams.empty()) {
    try {
      opened.push_back(open_first(codec, streams, opened.size(), max_values));
      if (!same_size(opened.front().header, opened.back().header)) {
        throw Error("it holds an image of another size than those before; decode them one by one");
      }
    } catch (const Error& error) {
      throw Error("stream of image " + std::to_string(opened.size()) + ": " + error.what());
    }
    streams = streams.subspan(opened.back().bytes.size());
  }
  return opened;
}

void check_size(const std::vector<int64_t>& shape) {
  constexpr int64_t kMost = std::numeric_limits<uint32_t>::max();
  if (shape[2] > kMost || shape[3] > kMost) throw Error("the images are too large for a stream");
  const bool pixels = shape[2] > 0 && shape[3] > 0;
  if (shape[0] > 0 && !pixels) throw Error("the images have no pixels");
}

}  // namespace

int64_t TensorCodec::planes() const {
  return components() + std::ranges::count_if(shifts, [](int shift) { return shift > 0; });
}

bool TensorCodec::any_level() const {
  return std::ranges::any_of(quantizers, [](const Quantizer& quantizer) {
    return quantizer.lo == std::numeric_limits<int16_t>::min();
  });
}

Levels TensorCodec::quantize(const Array& x) const {
  if (x.shape.size() != 4 || x.shape[1] != channels) {
    throw Error("expected planes [N, " + std::to_string(channels) + ", H, W], but their shape is " +
                shape_text(x.shape));
  }
  check_size(x.shape);
  const std::vector<float> values = x.floats("the tensor");
  if (!std::ranges::all_of(values, [](float value) { return std::isfinite(value); })) {
    throw Error("the tensor contains NaN or infinity");
  }
  const Cut cut = make_cut(*this, x.shape[2], x.shape[3]);
  const int64_t rows = divide_up(cut.rows, size()), columns = divide_up(cut.columns, size());
  Levels levels = {{x.shape[0], components(), rows, columns},
                   {},
                   static_cast<uint8_t>(rows * tile().h - cut.height),
                   static_cast<uint8_t>(columns * tile().w - cut.width)};
  if (x.shape[0] == 0) return levels;
  levels.values.resize(value_count(levels.shape));
  const int64_t in_image = cut.channels * cut.height * cut.width;
  Plane blocks(cut.in_blocks, cut.positions());
  Plane transformed(transformed_rows(*this), cut.positions());
  for (int64_t n = 0; n < x.shape[0]; ++n) {
    const auto image = part(std::span(values), n, in_image);
    cut.for_each([&](int64_t to, int64_t from, bool) {
      blocks.data()[to] = image[static_cast<size_t>(from)];
    });
    transform(*this, blocks, transformed);
    levels.clamped += quantize_image(*this, cut, transformed,
                                     part(levels.values, n, components() * rows * columns));
  }
  return levels;
}

Array TensorCodec::dequantize(const Levels& levels) const {
  const int64_t height = levels.shape[2] * tile().h - levels.crop_h;
  const int64_t width = levels.shape[3] * tile().w - levels.crop_w;
  const Cut cut = make_cut(*this, height, width);
  Array x = {"F32", {levels.shape[0], channels, height, width}, {}};
  const auto in_image = static_cast<size_t>(channels * height * width);
  const int64_t of_levels = levels.shape[1] * levels.shape[2] * levels.shape[3];
  x.bytes.resize(value_count(x.shape) * sizeof(float));
  auto* const values = reinterpret_cast<float*>(x.bytes.data());
  Plane transformed(transformed_rows(*this), cut.positions());
  Plane blocks(cut.in_blocks, cut.positions());
  for (int64_t n = 0; n < levels.shape[0]; ++n) {
    dequantize_image(*this, cut, part(std::span(levels.values), n, of_levels), transformed);
    transform_back(*this, transformed, blocks);
    float* const image = values + static_cast<size_t>(n) * in_image;
    cut.for_each([&](int64_t from, int64_t to, bool padding) {
      if (!padding) image[to] = blocks.data()[from];
    });
  }
  return x;
}

std::vector<uint8_t> TensorCodec::encode(const Levels& levels) const {
  if (levels.shape.size() != 4 || levels.shape[1] != components()) {
    throw Error("expected levels [N, " + std::to_string(components()) +
                ", H, W], but their shape is " + shape_text(levels.shape));
  }
  check_size(levels.shape);
  const StreamHeader header =
      header_of(*this, static_cast<uint32_t>(levels.shape[2]),
                static_cast<uint32_t>(levels.shape[3]), levels.crop_h, levels.crop_w);
  const int64_t size = levels.shape[1] * levels.shape[2] * levels.shape[3];
  std::vector<uint8_t> streams;
  for (int64_t n = 0; n < levels.shape[0]; ++n) {
    try {
      encode_image(*this, part(std::span(levels.values), n, size), header, streams);
    } catch (const Error& error) {
      throw Error("image " + std::to_string(n) + ": " + error.what());
    }
  }
  return streams;
}

Levels TensorCodec::decode(std::span<const uint8_t> streams, uint64_t max_values) const {
  const std::vector<OpenStream> opened = open_streams(*this, streams, max_values);
  if (opened.empty()) return {{0, components(), 0, 0}, {}};
  const StreamHeader& first = opened.front().header;
  const auto images = static_cast<int64_t>(opened.size());
  Levels levels = {
      {images, components(), first.height, first.width}, {}, first.crop_h, first.crop_w};
  levels.values.resize(value_count(levels.shape));
  const int64_t size = components() * static_cast<int64_t>(first.plane());
  for (int64_t n = 0; n < images; ++n) {
    const OpenStream& stream = opened[static_cast<size_t>(n)];
    try {
      decode_image(*this, stream.bytes, stream.header, part(levels.values, n, size));
    } catch (const Error& error) {
      throw Error("stream of image " + std::to_string(n) + ": " + error.what());
    }
  }
  return levels;
}

}  // namespace fmtc::codec
