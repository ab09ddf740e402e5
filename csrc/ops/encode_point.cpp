#include <torch/csrc/stable/library.h>

#include <array>
#include <mutex>
#include <tuple>

#include "ops/memory.h"
#include "ops/parallel.h"
#include "ops/point.h"
#include "ops/streams.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "encode_point";

// An image with a level that has no code: what the error is made of.
struct NoCodeImage {
  std::mutex mutex;
  int64_t image = -1;
  std::vector<int16_t> levels;

  void note(int64_t n, std::span<const int16_t> of_image) {
    const std::lock_guard<std::mutex> lock(mutex);
    if (image >= 0 && image < n) return;
    image = n;
    levels.assign(of_image.begin(), of_image.end());
  }
};

// All that the stages of an image need, and where its results go.
struct Encoding {
  ImageShape shape;  // of x
  PointMatrix matrix;
  PointQuantizer quantizer;
  PointSymbols symbols;
  PointClasses classes;
  PointCounts counts;
  Coding coding;
  int64_t lo, hi;

  std::span<const float> x;
  int64_t buffer;
  std::span<uint8_t> bytes;
  std::span<int64_t> used;
  std::span<int64_t> total;  // [num_groups, num_symbols]
  std::mutex mutex = {};     // of clamped and total
  int64_t clamped = 0;
  NoCodeImage no_code = {};

  uint32_t height() const { return coding.header.height; }
  uint32_t width() const { return coding.header.width; }

  Status encode(int64_t first, int64_t images, std::optional<SegmentCounter>& counter);
};

Status Encoding::encode(int64_t first, int64_t images, std::optional<SegmentCounter>& counter) {
  PointSpace& space = point_space();
  const int64_t plane = int64_t{height()} * width();
  const auto levels = space.levels.take(static_cast<size_t>(images * symbols.levels() * plane));
  int64_t outside = 0;
  const auto of_group = x.subspan(static_cast<size_t>(first * shape.values()),
                                  static_cast<size_t>(images * shape.values()));
  Status status = quantize_images(of_group, images, shape, matrix, quantizer, lo, hi, levels,
                                  outside, for_each_torch);
  if (status != Status::kOk) return status;
  std::span<const int16_t> planes, arranged;
  status =
      symbols.symbols_of(levels, images, height(), width(), space.symbols, planes, for_each_torch);
  if (status != Status::kOk) return status;
  std::vector<Layout> layouts(static_cast<size_t>(images), coding.header.layout());
  status = arrange_symbols(classes, planes, layouts, space, arranged, for_each_torch);
  if (status != Status::kOk) return status;
  const auto size = static_cast<int64_t>(coding.header.values());
  std::vector<StreamHeader> headers(static_cast<size_t>(images), coding.header);
  for (size_t n = 0; n < headers.size(); ++n) {
    headers[n].positions = layouts[n].positions;
    if (counter) counter->add(row(arranged, static_cast<int64_t>(n), size), layouts[n]);
  }
  if (outside != 0) {
    const std::lock_guard<std::mutex> lock(mutex);
    clamped += outside;
  }
  int64_t failed = 0;
  status = encode_images(
      coding.tables, headers, arranged,
      bytes.subspan(static_cast<size_t>(first * buffer), static_cast<size_t>(images * buffer)),
      buffer, used.subspan(static_cast<size_t>(first), headers.size()), for_each_torch, failed);
  if (status == Status::kNoCode) no_code.note(first + failed, row(arranged, failed, size));
  return status;
}

Coding coding_of(const std::string& coder, int64_t symbols_from, const Tensor& table_of,
                 const Tensor& encode_table, int64_t table_id, const ImageShape& levels,
                 int64_t crop_h, int64_t crop_w, int classes, int64_t lane_values) {
  STD_TORCH_CHECK(
      coder == "rans" || (coder == "huffman" && classes == 1),
      "fmtc::encode_point: coder must be rans, or huffman without classes of positions, ",
      "but is ", coder);
  const bool rans = coder == "rans";
  Coding coding =
      make_coding(kOp, rans ? Coder::kRans : Coder::kHuffman, {"encode_table", encode_table},
                  symbols_from, table_of, table_id, levels.channels, levels.height, levels.width,
                  crop_h, crop_w, classes, lane_values);
  if (rans) {
    check_rans_encode_table(kOp, coding, encode_table);
  } else {
    check_huffman_encode_table(kOp, coding);
  }
  return coding;
}

std::tuple<Tensor, Tensor, Tensor, Tensor> encode_point(
    const Tensor& x, const std::optional<Tensor>& matrix, const std::optional<Tensor>& offset,
    const std::optional<Tensor>& places, const std::optional<Tensor>& steps, double step,
    int64_t lo, int64_t hi, const Tensor& coefficients, const Tensor& shifts, int64_t planes,
    const std::optional<Tensor>& weights, const std::optional<Tensor>& thresholds,
    const std::string& coder, int64_t symbols_from, const Tensor& table_of,
    const Tensor& encode_table, int64_t table_id, int64_t crop_h, int64_t crop_w,
    int64_t lane_values, const std::optional<Tensor>& groups, int64_t num_groups,
    int64_t num_symbols) {
  const Tensor input = float_images(kOp, x);
  check_interval(kOp, lo, hi);
  const PointMatrix transform(kOp, matrix, offset);
  PointSymbols symbols(kOp, coefficients, shifts, planes);
  const PointQuantizer quantizer(kOp, places, steps, symbols.levels(), step);
  const PointClasses classes(kOp, weights, thresholds, planes);
  const ImageShape shape = {x.size(1), x.size(2), x.size(3)};
  const int64_t size =
      check_point_shapes(kOp, shape.channels, transform, quantizer, symbols.levels());
  const ImageShape coded = {planes, (shape.height + size - 1) / size,
                            (shape.width + size - 1) / size};
  const Coding coding = coding_of(coder, symbols_from, table_of, encode_table, table_id, coded,
                                  crop_h, crop_w, classes.classes, lane_values);
  const int64_t segments = classes.classes > 1 ? 1 + planes * classes.classes : planes;
  const PointCounts counts(kOp, groups, num_groups, symbols_from, num_symbols, segments);
  const int64_t buffer = coder == "rans" ? rans_buffer_bytes(coding.header)
                                         : huffman_buffer_bytes(coding.header, lane_values);
  const int64_t images = x.size(0);
  const Tensor bytes = zeros(std::array<int64_t, 2>{images, buffer}, ScalarType::Byte);
  const Tensor used = torch::stable::empty({images}, ScalarType::Long);
  const Tensor counted = counts.zeros();
  Encoding encoding{shape,
                    transform,
                    quantizer,
                    std::move(symbols),
                    classes,
                    counts,
                    coding,
                    lo,
                    hi,
                    values<float>(input),
                    buffer,
                    mutable_values<uint8_t>(bytes),
                    mutable_values<int64_t>(used),
                    mutable_values<int64_t>(counted)};
  const Status status = for_image_groups(
      images, images_together(images, static_cast<int64_t>(coding.header.values())),
      [&](int64_t first, int64_t count) {
        std::optional<SegmentCounter> counter = encoding.counts.counter();
        const Status made = encoding.encode(first, count, counter);
        if (counter) {
          const std::lock_guard<std::mutex> lock(encoding.mutex);
          counter->move_to(encoding.total);
        }
        return made;
      });
  if (status == Status::kNoCode) {
    throw_no_code(kOp, coding, encoding.no_code.levels, encoding.no_code.image);
  }
  check_status(kOp, status);
  return {bytes, used, scalar(encoding.clamped), counted};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("encode_point", TORCH_BOX(&encode_point)); }

}  // namespace fmtc::ops
