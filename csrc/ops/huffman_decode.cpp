#include <bit>
#include <tuple>

#include "core/huffman.h"
#include "ops/coding.h"
#include "ops/register.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "huffman_decode";

std::tuple<Tensor, Tensor> huffman_decode(const Tensor& bytes, const Tensor& used, int64_t lo,
                                          const Tensor& table_of, const Tensor& decode_table,
                                          int64_t table_id, int64_t channels, int64_t height,
                                          int64_t width, int64_t max_values) {
  const Coding coding = make_coding(kOp, Coder::kHuffman, {"decode_table", decode_table}, lo,
                                    table_of, table_id, channels, height, width);
  check_huffman_decode_table(kOp, coding);
  return decode_batch(kOp, coding, bytes, used, max_values);
}

}  // namespace

void check_huffman_decode_table(const char* op, const Coding& coding) {
  const size_t width = coding.tables.width;
  STD_TORCH_CHECK(std::has_single_bit(width) && width >= 2 && width <= size_t{1} << kMaxCodeLength,
                  "fmtc::", op, ": dimension 1 of decode_table must be a power of two from 2 to ",
                  "32768, but is ", width);
}

FMTC_REGISTER(huffman_decode)

}  // namespace fmtc::ops
