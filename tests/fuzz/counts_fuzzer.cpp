// The makers of tables on any counts: apart from their readers, which are far faster.

#include "tables.h"

namespace fmtc {
namespace {

void of_counts(Input& input) {
  constexpr std::array kLog2Totals = {8, 8, 8, 9, 12, 7, 13};  // small ones are faster
  const int limit = input.up_to(17);
  const int log2_total = kLog2Totals[static_cast<size_t>(input.up_to(6))];
  const bool small = input.up_to(1) == 1;
  const std::vector<int64_t> counts = numbers<int64_t>(input, small, 60);
  std::vector<uint8_t> lengths(counts.size());
  if (huffman_lengths(counts, limit, lengths) == Status::kOk) {
    for (size_t i = 0; i < counts.size(); ++i) {
      FMTC_REQUIRE((lengths[i] > 0) == (counts[i] > 0) && lengths[i] <= limit);
    }
    const bool some = std::ranges::count(lengths, 0) < std::ssize(lengths);
    FMTC_REQUIRE(huffman_tables(lengths, std::clamp(limit, 1, 15)) == some);
  }
  std::vector<int32_t> frequencies(counts.size() + 1);
  if (rans_frequencies(counts, log2_total, frequencies) == Status::kOk) {
    FMTC_REQUIRE(rans_log2_total(frequencies) == log2_total && rans_tables(frequencies));
  }
}

}  // namespace
}  // namespace fmtc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fmtc::Input input(data, size);
  fmtc::of_counts(input);
  return 0;
}
