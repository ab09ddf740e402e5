#include <torch/csrc/stable/library.h>

#include <array>
#include <tuple>

#include "ops/memory.h"
#include "ops/parallel.h"
#include "ops/point.h"
#include "ops/streams.h"
#include "ops/transform.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "decode_point";

std::tuple<Tensor, Tensor> decode_point(
    const Tensor& bytes, const Tensor& used, int64_t height, int64_t width,
    const std::string& coder, int64_t symbols_from, const Tensor& table_of,
    const Tensor& decode_table, const std::optional<Tensor>& base, int64_t table_id,
    const Tensor& coefficients, const Tensor& shifts, int64_t planes,
    const std::optional<Tensor>& matrix, const std::optional<Tensor>& offset,
    const std::optional<Tensor>& places, const std::optional<Tensor>& steps, double step,
    int64_t crop_h, int64_t crop_w, std::optional<double> least, std::optional<double> most,
    const std::string& dtype, int64_t max_values) {
  const ScalarType result = check_real_name(kOp, "dtype", dtype);
  const Limits limits = check_limits(kOp, least, most);
  const PointSymbols symbols(kOp, coefficients, shifts, planes);
  const PointMatrix transform(kOp, matrix, offset);
  const PointQuantizer quantizer(kOp, places, steps, symbols.levels(), step);
  const bool rans = coder == "rans";
  STD_TORCH_CHECK(rans == base.has_value() && (rans || coder == "huffman"),
                  "fmtc::decode_point: coder must be rans, with base, or huffman without, but is ",
                  coder);
  Coding coding = make_coding(kOp, rans ? Coder::kRans : Coder::kHuffman,
                              {"decode_table", decode_table}, symbols_from, table_of, table_id,
                              planes, height, width, 0, 0, rans ? classes_of(table_of, planes) : 1);
  const Tensor bases = rans ? contiguous_of(*base) : decode_table;
  if (rans) {
    check_rans_decode_table(kOp, coding, bases, bytes);
  } else {
    check_huffman_decode_table(kOp, coding);
  }
  check_coded(kOp, coding, bytes, used, max_values);
  const int64_t size = quantizer.size();
  check_between(kOp, "crop_h", crop_h, 0, std::min(size - 1, height * size));
  check_between(kOp, "crop_w", crop_w, 0, std::min(size - 1, width * size));
  const int64_t channels =
      point_channels(kOp, transform, /*columns=*/true, quantizer, symbols.levels());
  const ImageShape shape = {channels, height * size - crop_h, width * size - crop_w};
  const Tensor buffers = contiguous_of(bytes);
  const Tensor sizes = contiguous_of(used);
  const int64_t images = bytes.size(0), buffer = bytes.size(1);
  const Tensor x = reused(std::array<int64_t, 4>{images, channels, shape.height, shape.width},
                          ScalarType::Float);
  const Tensor status = torch::stable::empty({images}, ScalarType::Int);
  const auto values_of_image = static_cast<int64_t>(coding.header.layout().levels());
  const Status made = for_image_groups(
      images, images_together(images, values_of_image), [&](int64_t first, int64_t count) {
        PointSpace& space = point_space();
        const auto from = static_cast<size_t>(first), many = static_cast<size_t>(count);
        const auto coded = space.arranged.take(static_cast<size_t>(count * values_of_image));
        decode_images(coding,
                      values<uint8_t>(buffers).subspan(static_cast<size_t>(first * buffer),
                                                       static_cast<size_t>(count * buffer)),
                      buffer, values<int64_t>(sizes).subspan(from, many), coded,
                      mutable_values<int32_t>(status).subspan(from, many), for_each_torch);
        std::span<const int16_t> levels;
        const Status of_levels =
            symbols.levels_of(coded, count, coding.header.height, coding.header.width, space.levels,
                              levels, for_each_torch);
        if (of_levels != Status::kOk) return of_levels;
        return dequantize_images(
            levels, count, shape, transform, quantizer, limits.least, limits.most,
            mutable_values<float>(x).subspan(static_cast<size_t>(first * shape.values()),
                                             static_cast<size_t>(count * shape.values())),
            for_each_torch);
      });
  check_status(kOp, made);
  return {converted(x, result), status};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(fmtc, CPU, m) { m.impl("decode_point", TORCH_BOX(&decode_point)); }

}  // namespace fmtc::ops
