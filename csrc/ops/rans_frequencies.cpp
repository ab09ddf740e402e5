#include "core/rans.h"
#include "ops/checks.h"
#include "ops/parallel.h"
#include "ops/tables.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "rans_frequencies";

}  // namespace

Tensor rans_frequencies(const Tensor& counts, int64_t log2_total) {
  check_dtype(kOp, "counts", counts, ScalarType::Long);
  check_dim(kOp, "counts", counts, 2, "[T, L]");
  check_between(kOp, "log2_total", log2_total, kMinLog2Total, kMaxLog2Total);
  check_between(kOp, "dimension 1 of counts", counts.size(1), 1, kMaxSymbols);
  const Tensor input = torch::stable::contiguous(counts);
  const int64_t tables = counts.size(0), levels = counts.size(1);
  const Tensor frequencies = torch::stable::empty({tables, levels + 1}, ScalarType::Int);
  const auto in = values<int64_t>(input);
  const auto out = mutable_values<int32_t>(frequencies);
  Failures failures;
  for_each_task(tables, failures, [&](int64_t table) {
    return fmtc::rans_frequencies(row(in, table, levels), static_cast<int>(log2_total),
                                  row(out, table, levels + 1));
  });
  STD_TORCH_CHECK(failures.status() != Status::kOutOfRange, "fmtc::rans_frequencies: counts must ",
                  "not be negative and their sum below 2^59, but those of table ", failures.task(),
                  " are not");
  check_status(kOp, failures.status());
  return frequencies;
}

}  // namespace fmtc::ops
