#include <bit>
#include <tuple>

#include "core/rans.h"
#include "ops/coding.h"
#include "ops/register.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "rans_decode";

std::tuple<Tensor, Tensor> rans_decode(const Tensor& bytes, const Tensor& used, int64_t lo,
                                       const Tensor& table_of, const Tensor& decode_table,
                                       const Tensor& base, int64_t table_id, int64_t channels,
                                       int64_t height, int64_t width, int64_t max_values) {
  Coding coding =
      make_coding(kOp, Coder::kRans, {"decode_table", decode_table}, lo, table_of, table_id,
                  channels, height, width, 0, 0, classes_of(table_of, channels));
  const Tensor bases = contiguous_of(base);
  check_rans_decode_table(kOp, coding, bases, bytes);
  return decode_batch(kOp, coding, bytes, used, max_values);
}

}  // namespace

void check_rans_decode_table(const char* op, Coding& coding, const Tensor& base,
                             const Tensor& bytes) {
  check_dtype(op, "base", base, ScalarType::Long);
  check_dim(op, "base", base, 1, "[T]");
  check_size(op, "base", base, 0, coding.entries.size(0), "the tables T of decode_table");
  coding.tables.base = values<int64_t>(base);
  const size_t slots = coding.tables.width;
  const bool allowed = std::has_single_bit(slots) && slots >= size_t{1} << kMinLog2Total &&
                       slots <= size_t{1} << kMaxLog2Total;
  STD_TORCH_CHECK(allowed && (on_device(bytes) ||
                              check_decode_tables(coding.header, coding.tables) == Status::kOk),
                  "fmtc::", op, ": dimension 1 of decode_table must be a power of two from 256 ",
                  "to 4096, but is ", slots, ", and base from 0 to ", kMaxSymbols - 1);
}

FMTC_REGISTER(rans_decode)

}  // namespace fmtc::ops
