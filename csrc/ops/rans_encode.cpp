#include <optional>
#include <tuple>

#include "core/rans.h"
#include "ops/coding.h"
#include "ops/register.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "rans_encode";

std::tuple<Tensor, Tensor> rans_encode(const Tensor& levels, int64_t lo, const Tensor& table_of,
                                       const Tensor& encode_table, int64_t table_id, int64_t crop_h,
                                       int64_t crop_w, const std::optional<Tensor>& classes,
                                       int64_t lane_values) {
  check_levels(kOp, levels);
  const int64_t count = classes.has_value() ? classes_of(table_of, levels.size(1)) : 1;
  STD_TORCH_CHECK(count > 1 || !classes.has_value(),
                  "fmtc::rans_encode: with classes, table_of must have "
                  "1 + K * (2 to ",
                  kMaxPositionClasses, ") elements for K = ", levels.size(1),
                  " components, but has the shape ", shape_text(table_of));
  const Coding coding = make_coding(kOp, Coder::kRans, {"encode_table", encode_table}, lo, table_of,
                                    table_id, levels.size(1), levels.size(2), levels.size(3),
                                    crop_h, crop_w, count, lane_values);
  check_rans_encode_table(kOp, coding, levels);
  return encode_batch(kOp, coding, levels, rans_buffer_bytes(coding.header), nullptr, classes);
}

}  // namespace

// A digit and an escaped level a value, 32 states and the directory entry of each chunk, the
// header.
int64_t rans_buffer_bytes(const StreamHeader& header) {
  return 4 * static_cast<int64_t>(header.values()) + 136 * static_cast<int64_t>(header.chunks()) +
         static_cast<int64_t>(kMaxFieldBytes + kChecksumBytes);
}

void check_rans_encode_table(const char* op, const Coding& coding, const Tensor& levels) {
  check_between(op, "dimension 1 of encode_table", static_cast<int64_t>(coding.tables.width), 2,
                kMaxSymbols + 1);
  STD_TORCH_CHECK(
      on_device(levels) || check_encode_tables(coding.header, coding.tables) == Status::kOk,
      "fmtc::", op, ": encode_table must be one of rans_tables: the last entry of a table ends at ",
      "its sum of frequencies, the same power of two from 256 to 4096 for all");
}

FMTC_REGISTER(rans_encode)

}  // namespace fmtc::ops
