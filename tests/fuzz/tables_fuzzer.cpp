// The readers of tables on any lengths, frequencies and entries.

#include "tables.h"

namespace fmtc {
namespace {

void of_lengths(Input& input) {
  const std::vector<uint8_t> lengths = numbers<uint8_t>(input, true, 300);
  const int longest = lengths.empty() ? 0 : *std::ranges::max_element(lengths);
  huffman_tables(lengths, std::clamp(longest, 1, kMaxCodeLength));
}

// The last one makes the sum what it should be, where it can.
void of_frequencies(Input& input) {
  const int total = 1 << (7 + input.up_to(6));
  const bool repair = input.up_to(3) != 0, small = input.up_to(1) == 1;
  std::vector<int32_t> frequencies = numbers<int32_t>(input, small, 300);
  if (repair && small && !frequencies.empty()) {
    int32_t sum = 0;
    for (const int32_t frequency : frequencies) sum += frequency;
    frequencies.back() += total - sum;
  }
  rans_tables(frequencies);
}

// Entries of any kind, which the checks let through or not, must not lead outside.
void of_entries(Input& input) {
  const auto coder = input.up_to(1) == 0 ? Coder::kHuffman : Coder::kRans;
  const size_t width = size_t{1} << input.up_to(10);
  const auto lo = static_cast<int32_t>(input.u16()) * 2 - 65536;
  const std::vector<int64_t> table_of = {input.up_to(3) - 1, input.up_to(2)};
  std::vector<int64_t> base = {input.up_to(255), input.up_to(255) * 20};
  const uint64_t plane = static_cast<uint64_t>(input.byte());
  const auto of_input = numbers<uint32_t>(input, false, 64);
  std::vector<uint32_t> entries(2 * width - static_cast<size_t>(input.up_to(9) == 9));
  for (size_t i = 0; i < entries.size() && !of_input.empty(); ++i) {
    entries[i] = of_input[i % of_input.size()];
  }
  const ComponentTables tables = {lo, width, entries, table_of, plane, base};
  std::vector<int16_t> levels(2 * plane);
  if (coder == Coder::kHuffman) {
    if (huffman_check_decode_tables(tables, 2) == Status::kOk) {
      const Status status = huffman_chunk_decode(input.rest(), 0, tables, 1, levels);
      FMTC_REQUIRE(status == Status::kOk || status == Status::kBadCode);
    }
  } else if (rans_check_decode_tables(tables, 2) == Status::kOk && input.rest().size() >= 32) {
    for (const int states : {1, 8}) {
      const Status status = rans_chunk_decode(input.rest(), 0, tables, states, levels);
      FMTC_REQUIRE(status == Status::kOk || status == Status::kBadCode);
    }
  }
}

}  // namespace
}  // namespace fmtc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fmtc::Input input(data, size);
  switch (input.up_to(2)) {
    case 0:
      fmtc::of_lengths(input);
      break;
    case 1:
      fmtc::of_frequencies(input);
      break;
    default:
      fmtc::of_entries(input);
  }
  return 0;
}
