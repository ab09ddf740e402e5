#include "core/huffman.h"
#include "ops/checks.h"
#include "ops/parallel.h"
#include "ops/tables.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "huffman_lengths";

}  // namespace

Tensor huffman_lengths(const Tensor& counts, int64_t max_length) {
  check_dtype(kOp, "counts", counts, ScalarType::Long);
  check_dim(kOp, "counts", counts, 2, "[T, L]");
  check_between(kOp, "max_length", max_length, 1, kMaxCodeLength);
  check_between(kOp, "dimension 1 of counts", counts.size(1), 1, kMaxSymbols);
  const Tensor input = contiguous_of(counts);
  const Tensor lengths = torch::stable::empty(counts.sizes(), ScalarType::Byte);
  const int64_t symbols = counts.size(1);
  const auto in = values<int64_t>(input);
  const auto out = mutable_values<uint8_t>(lengths);
  Failures failures;
  for_each_task(counts.size(0), failures, [&](int64_t table) {
    return fmtc::huffman_lengths(row(in, table, symbols), static_cast<int>(max_length),
                                 row(out, table, symbols));
  });
  STD_TORCH_CHECK(failures.status() != Status::kBadTable,
                  "fmtc::huffman_lengths: max_length = ", max_length,
                  " leaves too few codes for the symbols of table ", failures.task());
  STD_TORCH_CHECK(failures.status() != Status::kOutOfRange, "fmtc::huffman_lengths: counts must ",
                  "not be negative and their sum below 2^59, but those of table ", failures.task(),
                  " are not");
  check_status(kOp, failures.status());
  return lengths;
}

}  // namespace fmtc::ops
