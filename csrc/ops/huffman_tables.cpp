#include <algorithm>
#include <tuple>

#include "core/huffman.h"
#include "ops/checks.h"
#include "ops/coding.h"
#include "ops/parallel.h"
#include "ops/tables.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "huffman_tables";

// Decode tables are indexed by as many bits as the longest code of any of them has.
int table_bits(std::span<const uint8_t> lengths) {
  const uint8_t longest = lengths.empty() ? 0 : *std::max_element(lengths.begin(), lengths.end());
  return std::max<int>(longest, 1);
}

}  // namespace

std::tuple<Tensor, Tensor> huffman_tables(const Tensor& lengths) {
  check_dtype(kOp, "lengths", lengths, ScalarType::Byte);
  check_dim(kOp, "lengths", lengths, 2, "[T, L]");
  check_between(kOp, "dimension 1 of lengths", lengths.size(1), 1, kMaxSymbols);
  const Tensor input = contiguous_of(lengths);
  const auto in = values<uint8_t>(input);
  const int bits = table_bits(in);
  STD_TORCH_CHECK(bits <= kMaxCodeLength, "fmtc::huffman_tables: lengths must be at most ",
                  kMaxCodeLength, ", but the longest is ", bits);
  const int64_t tables = lengths.size(0), symbols = lengths.size(1), width = int64_t{1} << bits;
  const Tensor encode = torch::stable::empty({tables, symbols}, ScalarType::Int);
  const Tensor decode = torch::stable::empty({tables, width}, ScalarType::Int);
  const auto encode_entries = mutable_entries(encode), decode_entries = mutable_entries(decode);
  Failures failures;
  for_each_task(tables, failures, [&](int64_t table) {
    const auto of_table = row(in, table, symbols);
    const Status status = huffman_encode_table(of_table, row(encode_entries, table, symbols));
    if (status != Status::kOk) return status;
    return huffman_decode_table(of_table, bits, row(decode_entries, table, width));
  });
  STD_TORCH_CHECK(failures.status() == Status::kOk, "fmtc::huffman_tables: lengths of table ",
                  failures.task(), ": ", message(failures.status()));
  return {encode, decode};
}

}  // namespace fmtc::ops
