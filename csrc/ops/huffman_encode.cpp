#include <tuple>

#include "core/huffman.h"
#include "ops/coding.h"
#include "ops/register.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "huffman_encode";

void throw_here(const Coding& coding, std::span<const int16_t> levels, int64_t image) {
  throw_no_code(kOp, coding, levels, image);
}

std::tuple<Tensor, Tensor> huffman_encode(const Tensor& levels, int64_t lo, const Tensor& table_of,
                                          const Tensor& encode_table, int64_t table_id,
                                          int64_t crop_h, int64_t crop_w, int64_t lane_values) {
  check_levels(kOp, levels);
  const Coding coding =
      make_coding(kOp, Coder::kHuffman, {"encode_table", encode_table}, lo, table_of, table_id,
                  levels.size(1), levels.size(2), levels.size(3), crop_h, crop_w, 1, lane_values);
  check_huffman_encode_table(kOp, coding);
  return encode_batch(kOp, coding, levels, huffman_buffer_bytes(coding.header, lane_values),
                      throw_here);
}

}  // namespace

// 15 bits a value, the sizes of the most sub-streams and the directory entry of each chunk, the
// header.
int64_t huffman_buffer_bytes(const StreamHeader& header, int64_t lane_values) {
  const int64_t substreams = lane_values == 0 ? 4 : kMaxSubstreams;
  return 2 * static_cast<int64_t>(header.values()) +
         (8 + 4 * substreams) * static_cast<int64_t>(header.chunks()) +
         static_cast<int64_t>(kMaxFieldBytes + kChecksumBytes);
}

void check_huffman_encode_table(const char* op, const Coding& coding) {
  check_between(op, "dimension 1 of encode_table", static_cast<int64_t>(coding.tables.width), 1,
                kMaxSymbols);
}

void throw_no_code(const char* op, const Coding& coding, std::span<const int16_t> levels,
                   int64_t image) {
  const ComponentTables& tables = coding.tables;
  const size_t index = find_uncodable(levels, tables);
  const uint64_t component = index / tables.plane;
  STD_TORCH_CHECK(false, "fmtc::", op, ": level ", levels[index], " of component ", component,
                  " in image ", image, " has no code in table ", tables.table_of[component],
                  "; the tables are for levels from ", tables.lo, " to ",
                  tables.lo + static_cast<int64_t>(tables.width) - 1);
}

FMTC_REGISTER(huffman_encode)

}  // namespace fmtc::ops
