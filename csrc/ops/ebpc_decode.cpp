#include <tuple>

#include "ops/coding.h"
#include "ops/register.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "ebpc_decode";

std::tuple<Tensor, Tensor> ebpc_decode(const Tensor& bytes, const Tensor& used, int64_t lo,
                                       int64_t word_bits, int64_t table_id, int64_t channels,
                                       int64_t height, int64_t width, int64_t max_values) {
  const Coding coding =
      make_word_coding(kOp, Coder::kEbpc, lo, word_bits, table_id, channels, height, width);
  return decode_batch(kOp, coding, bytes, used, max_values);
}

}  // namespace

FMTC_REGISTER(ebpc_decode)

}  // namespace fmtc::ops
