#include <tuple>

#include "core/rans.h"
#include "ops/checks.h"
#include "ops/coding.h"
#include "ops/parallel.h"
#include "ops/tables.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "rans_tables";

// All tables must have the same sum of frequencies; its logarithm. Without tables, the largest.
int common_log2_total(std::span<const int32_t> frequencies, int64_t tables, int64_t width) {
  int common = tables == 0 ? kMaxLog2Total : 0;
  for (int64_t table = 0; table < tables; ++table) {
    const int log2_total = rans_log2_total(row(frequencies, table, width));
    STD_TORCH_CHECK(log2_total != 0, "fmtc::rans_tables: frequencies of table ", table,
                    " must not be negative, at least 1 for the escape (the last), 0 outside ",
                    kMaxDirectLevels, " consecutive levels, and sum to a power of two from ",
                    1 << kMinLog2Total, " to ", 1 << kMaxLog2Total);
    if (common == 0) common = log2_total;
    STD_TORCH_CHECK(log2_total == common, "fmtc::rans_tables: frequencies of table ", table,
                    " sum to ", 1 << log2_total, ", but those of table 0 to ", 1 << common);
  }
  return common;
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> rans_tables(const Tensor& frequencies) {
  check_dtype(kOp, "frequencies", frequencies, ScalarType::Int);
  check_dim(kOp, "frequencies", frequencies, 2, "[T, L + 1]");
  check_between(kOp, "dimension 1 of frequencies", frequencies.size(1), 2, kMaxSymbols + 1);
  const Tensor input = contiguous_of(frequencies);
  const auto in = values<int32_t>(input);
  const int64_t tables = frequencies.size(0), entries = frequencies.size(1);
  const int64_t slots = int64_t{1} << common_log2_total(in, tables, entries);
  const Tensor encode = torch::stable::empty({tables, entries}, ScalarType::Int);
  const Tensor decode = torch::stable::empty({tables, slots}, ScalarType::Int);
  const Tensor base = torch::stable::empty({tables}, ScalarType::Long);
  const auto encode_entries = mutable_entries(encode), decode_entries = mutable_entries(decode);
  const auto bases = mutable_values<int64_t>(base);
  Failures failures;
  for_each_task(tables, failures, [&](int64_t table) {
    const auto of_table = row(in, table, entries);
    const Status status = rans_encode_table(of_table, row(encode_entries, table, entries));
    if (status != Status::kOk) return status;
    return rans_decode_table(of_table, row(decode_entries, table, slots),
                             bases[static_cast<size_t>(table)]);
  });
  check_status(kOp, failures.status());
  return {encode, decode, base};
}

}  // namespace fmtc::ops
