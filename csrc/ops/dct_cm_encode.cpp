#include <tuple>

#include "ops/coding.h"
#include "ops/register.h"

namespace fmtc::ops {
namespace {

constexpr const char* kOp = "dct_cm_encode";

// Bytes for one stream, at least stream_bound(header): a bit of the mask and up to 15 of a word a
// value, the directory entry of each chunk, the header. Kept free of branches, so that the fake in
// fmtc/ops gives the same number for symbolic shapes.
int64_t buffer_bytes(const StreamHeader& header) {
  return 2 * static_cast<int64_t>(header.values()) + 8 * static_cast<int64_t>(header.chunks()) +
         static_cast<int64_t>(kMaxFieldBytes + kChecksumBytes);
}

std::tuple<Tensor, Tensor> dct_cm_encode(const Tensor& levels, int64_t lo, int64_t word_bits,
                                         int64_t table_id, int64_t crop_h, int64_t crop_w,
                                         int64_t lane_values) {
  check_levels(kOp, levels);
  const Coding coding =
      make_word_coding(kOp, Coder::kDctCm, lo, word_bits, table_id, levels.size(1), levels.size(2),
                       levels.size(3), crop_h, crop_w, lane_values);
  const NoCode no_code = [](const Coding& of, std::span<const int16_t> image, int64_t n) {
    throw_no_word(kOp, of, image, n);
  };
  return encode_batch(kOp, coding, levels, buffer_bytes(coding.header), no_code);
}

}  // namespace

FMTC_REGISTER(dct_cm_encode)

}  // namespace fmtc::ops
