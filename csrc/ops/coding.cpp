#include "ops/coding.h"

#include <algorithm>
#include <limits>

#include "core/words.h"
#include "ops/cuda/streams.h"
#include "ops/streams.h"

namespace fmtc::ops {
namespace {

template <typename T>
constexpr int64_t kMax = std::numeric_limits<T>::max();

void check_table_of(const char* op, const TableArgument& argument, const Tensor& table_of,
                    int64_t components, int64_t classes) {
  const int64_t segments = classes > 1 ? 1 + components * classes : components;
  check_dtype(op, "table_of", table_of, ScalarType::Long);
  check_dim(op, "table_of", table_of, 1, "[K]");
  check_size(op, "table_of", table_of, 0, segments,
             classes > 1 ? "a map and each class of the components K of levels"
                         : "the components K of levels");
  const int64_t tables = argument.entries.size(0);
  if (on_device(table_of)) {  // what names no table counts as the last
    STD_TORCH_CHECK(tables > 0 || segments == 0, "fmtc::", op, ": ", argument.name,
                    " must hold at least one table");
    return;
  }
  const auto all = values<int64_t>(table_of);
  const auto outside = std::find_if(all.begin(), all.end(),
                                    [&](int64_t table) { return table < 0 || table >= tables; });
  STD_TORCH_CHECK(outside == all.end(), "fmtc::", op, ": table_of must be from 0 to ", tables - 1,
                  " (the tables of ", argument.name, "), but ",
                  classes > 1 ? "segment " : "component ", outside - all.begin(), " has ",
                  outside == all.end() ? 0 : *outside);
}

StreamHeader checked_header(const char* op, Coder coder, int64_t components, int64_t height,
                            int64_t width, int64_t table_id, int64_t crop_h, int64_t crop_w,
                            int64_t classes, int64_t lane_values) {
  check_between(op, "the number of components", components, 0, kMax<uint32_t>);
  check_between(op, "the height", height, 0, kMax<uint32_t>);
  check_between(op, "the width", width, 0, kMax<uint32_t>);
  check_between(op, "table_id", table_id, 0, kMax<uint16_t>);
  check_between(op, "crop_h", crop_h, 0, kMax<uint8_t>);
  check_between(op, "crop_w", crop_w, 0, kMax<uint8_t>);
  check_between(op, "classes", classes, 1, kMaxPositionClasses);
  STD_TORCH_CHECK(lane_values_valid(lane_values), "fmtc::", op,
                  ": lane_values must be a power of two from ", kMinLaneValues, " to ",
                  kMaxLaneValues, ", or 0 for the coder's own choice, but is ", lane_values);
  const StreamHeader header =
      make_header(coder, static_cast<uint32_t>(components), static_cast<uint32_t>(height),
                  static_cast<uint32_t>(width), static_cast<uint16_t>(table_id),
                  static_cast<uint8_t>(crop_h), static_cast<uint8_t>(crop_w),
                  static_cast<uint8_t>(classes), static_cast<uint32_t>(lane_values));
  STD_TORCH_CHECK(check_shape(header) == Status::kOk, "fmtc::", op, ": an image of ", components,
                  " x ", height, " x ", width, " values is too large for one stream",
                  classes > 1 ? ", or too small for classes of positions" : "");
  return header;
}

void check_bytes(const char* op, const Tensor& bytes, const Tensor& used) {
  check_dtype(op, "bytes", bytes, ScalarType::Byte);
  check_dim(op, "bytes", bytes, 2, "[N, bytes]");
  check_dtype(op, "used", used, ScalarType::Long);
  check_dim(op, "used", used, 1, "[N]");
  check_size(op, "used", used, 0, bytes.size(0), "the streams N of bytes");
}

void check_images(const char* op, const StreamHeader& header, int64_t images, int64_t max_values) {
  check_between(op, "max_values", max_values, 0, kMax<int64_t>);
  const Status status =
      check_limit(header, static_cast<uint64_t>(images), static_cast<uint64_t>(max_values));
  STD_TORCH_CHECK(status == Status::kOk, "fmtc::", op, ": ", images, " images of ",
                  header.components, " x ", header.height, " x ", header.width,
                  " values are more than max_values = ", max_values);
}

}  // namespace

Coding make_coding(const char* op, Coder coder, const TableArgument& argument, int64_t lo,
                   const Tensor& table_of, int64_t table_id, int64_t components, int64_t height,
                   int64_t width, int64_t crop_h, int64_t crop_w, int64_t classes,
                   int64_t lane_values) {
  check_dtype(op, argument.name, argument.entries, ScalarType::Int);
  check_dim(op, argument.name, argument.entries, 2, "[T, entries]");
  const Tensor table_entries = contiguous_of(argument.entries);
  const Tensor component_table = contiguous_of(table_of);
  check_table_of(op, argument, component_table, components, classes);
  check_between(op, "lo", lo, std::numeric_limits<int16_t>::min(), kMax<int16_t>);
  const StreamHeader header = checked_header(op, coder, components, height, width, table_id, crop_h,
                                             crop_w, classes, lane_values);
  const ComponentTables tables = {
      static_cast<int32_t>(lo), static_cast<size_t>(table_entries.size(1)), entries(table_entries),
      values<int64_t>(component_table), header.plane()};
  return {table_entries, component_table, header, tables};
}

int64_t classes_of(const Tensor& table_of, int64_t components) {
  const int64_t segments = table_of.dim() == 1 ? table_of.size(0) : 0;
  const int64_t classes = components > 0 ? (segments - 1) / components : 1;
  return segments == 1 + components * classes && classes >= kMinPositionClasses ? classes : 1;
}

Coding make_word_coding(const char* op, Coder coder, int64_t lo, int64_t word_bits,
                        int64_t table_id, int64_t components, int64_t height, int64_t width,
                        int64_t crop_h, int64_t crop_w, int64_t lane_values) {
  check_between(op, "word_bits", word_bits, 1, kMaxWordBits);
  check_between(op, "lo", lo, std::numeric_limits<int16_t>::min(),
                kMax<int16_t> - (int64_t{1} << word_bits) + 1);
  const StreamHeader header = checked_header(op, coder, components, height, width, table_id, crop_h,
                                             crop_w, 1, lane_values);
  const ComponentTables tables = {
      static_cast<int32_t>(lo), static_cast<size_t>(word_bits), {}, {}, header.plane()};
  return {Tensor(), Tensor(), header, tables};
}

void throw_no_word(const char* op, const Coding& coding, std::span<const int16_t> levels,
                   int64_t image) {
  const Words words(coding.tables);
  const auto wrong = std::find_if(levels.begin(), levels.end(), [&](int16_t level) {
    return words.word(level) >= words.count();
  });
  const auto component = static_cast<uint64_t>(wrong - levels.begin()) / coding.header.plane();
  STD_TORCH_CHECK(false, "fmtc::", op, ": level ", wrong == levels.end() ? 0 : *wrong,
                  " of component ", component, " in image ", image, " has no word of ", words.bits,
                  " bits; these are for levels from ", words.lo, " to ",
                  words.level(words.count() - 1));
}

void check_levels(const char* op, const Tensor& levels) {
  check_dtype(op, "levels", levels, ScalarType::Short);
  check_dim(op, "levels", levels, 4, "[N, K, H, W]");
}

void check_coded(const char* op, const Coding& coding, const Tensor& bytes, const Tensor& used,
                 int64_t max_values) {
  check_bytes(op, bytes, used);
  check_images(op, coding.header, bytes.size(0), max_values);
}

std::tuple<Tensor, Tensor> encode_batch(const char* op, const Coding& coding, const Tensor& levels,
                                        int64_t buffer, [[maybe_unused]] NoCode no_code,
                                        const std::optional<Tensor>& maps) {
#if defined(FMTC_EMULATE_CUDA)
  return encode_on_device(op, coding, levels, buffer, maps);
#elif defined(FMTC_WITH_CUDA)
  if (on_device(levels)) return encode_on_device(op, coding, levels, buffer, maps);
#endif
#if !defined(FMTC_EMULATE_CUDA)
  return encode_on_host(op, coding, levels, buffer, no_code, maps);
#endif
}

std::tuple<Tensor, Tensor> decode_batch(const char* op, const Coding& coding, const Tensor& bytes,
                                        const Tensor& used, int64_t max_values) {
  check_coded(op, coding, bytes, used, max_values);
#if defined(FMTC_EMULATE_CUDA)
  return decode_on_device(op, coding, bytes, used);
#elif defined(FMTC_WITH_CUDA)
  if (on_device(bytes)) return decode_on_device(op, coding, bytes, used);
#endif
#if !defined(FMTC_EMULATE_CUDA)
  return decode_on_host(coding, bytes, used);
#endif
}

}  // namespace fmtc::ops
