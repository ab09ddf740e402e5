// The makers and readers of tables on any counts, lengths, frequencies and entries.

#include <cstring>

#include "input.h"

namespace fmtc {
namespace {

// The rest of the input as numbers, a byte each or as many as T has.
template <typename T>
std::vector<T> numbers(Input& input, bool small, size_t most) {
  const auto bytes = input.rest();
  const size_t size = small ? 1 : sizeof(T);
  std::vector<T> result(std::min(bytes.size() / size, most));
  for (size_t i = 0; i < result.size(); ++i) {
    if (small) {
      result[i] = static_cast<T>(bytes[i]);
    } else {
      std::memcpy(&result[i], bytes.data() + size * i, size);
    }
  }
  return result;
}

// Both tables, or neither.
bool huffman_tables(std::span<const uint8_t> lengths, int table_bits) {
  std::vector<uint32_t> encode(lengths.size()), decode(size_t{1} << table_bits);
  const Status status = huffman_encode_table(lengths, encode);
  FMTC_REQUIRE(huffman_decode_table(lengths, table_bits, decode) == status);
  FMTC_REQUIRE(status == Status::kOk || status == Status::kBadTable);
  return status == Status::kOk;
}

bool rans_tables(std::span<const int32_t> frequencies) {
  const int log2_total = rans_log2_total(frequencies);
  std::vector<uint32_t> encode(frequencies.size()), decode(size_t{1} << std::max(log2_total, 8));
  int64_t base = -1;
  const Status expected = log2_total == 0 ? Status::kBadTable : Status::kOk;
  FMTC_REQUIRE(rans_encode_table(frequencies, encode) == expected);
  FMTC_REQUIRE(rans_decode_table(frequencies, decode, base) == expected);
  if (expected != Status::kOk) return false;
  FMTC_REQUIRE(base >= 0 && base < std::ssize(frequencies));
  for (const uint32_t entry : decode) {  // each slot lies within its symbol's
    const uint32_t symbol = entry & 255;
    const size_t index =
        symbol == kEscapeSymbol ? frequencies.size() - 1 : static_cast<size_t>(base) + symbol;
    FMTC_REQUIRE(entry >> 20 < static_cast<uint32_t>(frequencies[index]));
    FMTC_REQUIRE((entry >> 8 & 4095) + 1 == static_cast<uint32_t>(frequencies[index]));
  }
  return true;
}

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
  switch (input.up_to(7)) {
    case 0:  // the slowest
      fmtc::of_counts(input);
      break;
    case 1:
    case 2:
      fmtc::of_lengths(input);
      break;
    case 3:
    case 4:
      fmtc::of_frequencies(input);
      break;
    default:
      fmtc::of_entries(input);
  }
  return 0;
}
