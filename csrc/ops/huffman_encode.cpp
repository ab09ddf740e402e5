#include <tuple>

#include "core/huffman.h"
#include "ops/coding.h"
#include "ops/register.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "huffman_encode";

// Bytes for one stream, at least stream_bound(header): 15 bits a value, the sizes of the most
// sub-streams and the directory entry of each chunk, the header. Kept free of branches on the
// shape, so that the fake in fmtc/ops gives the same number for symbolic ones.
int64_t buffer_bytes(const StreamHeader& header, int64_t lane_values) {
  const int64_t substreams = lane_values == 0 ? 4 : kMaxSubstreams;
  return 2 * static_cast<int64_t>(header.values()) +
         (8 + 4 * substreams) * static_cast<int64_t>(header.chunks()) +
         static_cast<int64_t>(kMaxFieldBytes + kChecksumBytes);
}

void throw_no_code(const Coding& coding, std::span<const int16_t> levels, int64_t image) {
  const ComponentTables& tables = coding.tables;
  const size_t index = find_uncodable(levels, tables);
  const uint64_t component = index / tables.plane;
  STD_TORCH_CHECK(false, "fmtc::huffman_encode: level ", levels[index], " of component ", component,
                  " in image ", image, " has no code in table ", tables.table_of[component],
                  "; the tables are for levels from ", tables.lo, " to ",
                  tables.lo + static_cast<int64_t>(tables.width) - 1);
}

std::tuple<Tensor, Tensor> huffman_encode(const Tensor& levels, int64_t lo, const Tensor& table_of,
                                          const Tensor& encode_table, int64_t table_id,
                                          int64_t crop_h, int64_t crop_w, int64_t lane_values) {
  check_levels(kOp, levels);
  const Coding coding =
      make_coding(kOp, Coder::kHuffman, {"encode_table", encode_table}, lo, table_of, table_id,
                  levels.size(1), levels.size(2), levels.size(3), crop_h, crop_w, 1, lane_values);
  check_between(kOp, "dimension 1 of encode_table", encode_table.size(1), 1, kMaxSymbols);
  return encode_batch(kOp, coding, levels, buffer_bytes(coding.header, lane_values), throw_no_code);
}

}  // namespace

FMTC_REGISTER(huffman_encode)

}  // namespace fmtc::ops
