#include "core/apack.h"
#include "core/rans.h"
#include "ops/checks.h"
#include "ops/parallel.h"
#include "ops/tables.h"

namespace fmtc::ops {
namespace {

// What `make` of the core makes of the counts of each table.
Tensor frequencies_of(const char* op, const Tensor& counts, int64_t log2_total,
                      decltype(fmtc::rans_frequencies) make) {
  check_dtype(op, "counts", counts, ScalarType::Long);
  check_dim(op, "counts", counts, 2, "[T, L]");
  check_between(op, "log2_total", log2_total, kMinLog2Total, kMaxLog2Total);
  check_between(op, "dimension 1 of counts", counts.size(1), 1, kMaxSymbols);
  const Tensor input = contiguous_of(counts);
  const int64_t tables = counts.size(0), levels = counts.size(1);
  const Tensor frequencies = torch::stable::empty({tables, levels + 1}, ScalarType::Int);
  const auto in = values<int64_t>(input);
  const auto out = mutable_values<int32_t>(frequencies);
  Failures failures;
  for_each_task(tables, failures, [&](int64_t table) {
    return make(row(in, table, levels), static_cast<int>(log2_total), row(out, table, levels + 1));
  });
  STD_TORCH_CHECK(failures.status() != Status::kOutOfRange, "fmtc::", op, ": counts must ",
                  "not be negative and their sum below 2^59, but those of table ", failures.task(),
                  " are not");
  check_status(op, failures.status());
  return frequencies;
}

}  // namespace

Tensor rans_frequencies(const Tensor& counts, int64_t log2_total) {
  return frequencies_of("rans_frequencies", counts, log2_total, fmtc::rans_frequencies);
}

Tensor apack_frequencies(const Tensor& counts, int64_t log2_total) {
  return frequencies_of("apack_frequencies", counts, log2_total, fmtc::apack_frequencies);
}

}  // namespace fmtc::ops
