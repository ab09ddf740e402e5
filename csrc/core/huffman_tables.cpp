// Tables of code lengths, for the encoder and the decoder.
#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/huffman.h"
#include "core/huffman_value.h"

namespace fmtc {
namespace {

uint32_t reverse_bits(uint32_t code, int length) noexcept {
  uint32_t reversed = 0;
  for (int i = 0; i < length; ++i, code >>= 1) reversed = reversed << 1 | (code & 1);
  return reversed;
}

// The longest length, or 0 where the lengths make no valid code.
int longest_valid(std::span<const uint8_t> lengths) noexcept {
  constexpr uint32_t kOne = 1u << kMaxCodeLength;
  if (lengths.size() > kMaxSymbols) return 0;
  uint64_t kraft = 0;
  size_t used = 0;
  int longest = 0;
  for (const uint8_t length : lengths) {
    if (length == 0) continue;
    if (length > kMaxCodeLength) return 0;
    kraft += kOne >> length;
    longest = std::max<int>(longest, length);
    ++used;
  }
  const bool one_symbol = used == 1 && longest == 1;
  return kraft == kOne || one_symbol ? longest : 0;
}

// Calls visit(symbol, length, bit-reversed code) for each symbol of a valid code.
template <typename Visit>
void for_each_code(std::span<const uint8_t> lengths, Visit visit) noexcept {
  std::array<uint32_t, kMaxCodeLength + 2> next{};  // the next code of each length
  std::array<uint32_t, kMaxCodeLength + 1> used{};
  for (const uint8_t length : lengths) ++used[length];
  for (size_t length = 1; length <= kMaxCodeLength; ++length) {
    next[length + 1] = (next[length] + used[length]) << 1;
  }
  for (size_t symbol = 0; symbol < lengths.size(); ++symbol) {
    const int length = lengths[symbol];
    if (length == 0) continue;
    visit(static_cast<uint32_t>(symbol), length, reverse_bits(next[lengths[symbol]]++, length));
  }
}

// Puts the second code into entries that have bits for it. Bits behind an index are not known, so
// both codes must lie within the `bits` bits by which entries are looked up first.
void add_second_codes(int bits, std::span<uint32_t> entries) noexcept {
  // Downwards: the rest of an index is below it, so what is looked up still has its first code
  // alone. Only index 0 is its own rest; it is read before it is written.
  for (size_t i = entries.size(); i-- > 0;) {
    const uint32_t length = entries[i] >> kTotalShift;
    if (length == 0) continue;
    const uint32_t second = entries[(i & ((size_t{1} << bits) - 1)) >> length];
    const uint32_t second_length = second >> kTotalShift;
    if (second_length == 0 || length + second_length > static_cast<uint32_t>(bits)) continue;
    const auto symbol = static_cast<uint32_t>(second & (kMaxSymbols - 1));
    entries[i] +=
        symbol << kSecondShift | second_length << kLengthShift | second_length << kTotalShift;
  }
}

}  // namespace

Status huffman_encode_table(std::span<const uint8_t> lengths,
                            std::span<uint32_t> entries) noexcept {
  if (entries.size() != lengths.size()) return Status::kBadArgument;
  if (longest_valid(lengths) == 0) return Status::kBadTable;
  std::fill(entries.begin(), entries.end(), 0u);
  for_each_code(lengths, [&](uint32_t symbol, int length, uint32_t code) {
    entries[symbol] = static_cast<uint32_t>(length) << 16 | code;
  });
  return Status::kOk;
}

Status huffman_decode_table(std::span<const uint8_t> lengths, int table_bits,
                            std::span<uint32_t> entries) noexcept {
  if (table_bits < 1 || table_bits > kMaxCodeLength || entries.size() != size_t{1} << table_bits) {
    return Status::kBadArgument;
  }
  const int longest = longest_valid(lengths);
  if (longest == 0) return Status::kBadTable;
  if (longest > table_bits) return Status::kBadArgument;
  std::fill(entries.begin(), entries.end(), 0u);
  for_each_code(lengths, [&](uint32_t symbol, int length, uint32_t code) {
    for (size_t i = code; i < entries.size(); i += size_t{1} << length) {
      entries[i] = symbol | static_cast<uint32_t>(length) << kTotalShift;
    }
  });
  add_second_codes(std::min(table_bits, kPairBits), entries);
  return Status::kOk;
}

Status huffman_check_encode_tables(const ComponentTables& tables, uint64_t components) noexcept {
  const bool good = tables_valid(tables, components) && tables.width <= kMaxSymbols;
  return good ? Status::kOk : Status::kBadArgument;
}

Status huffman_check_decode_tables(const ComponentTables& tables, uint64_t components) noexcept {
  const bool good = tables_valid(tables, components) && std::has_single_bit(tables.width) &&
                    tables.width >= 2 && tables.width <= size_t{1} << kMaxCodeLength;
  return good ? Status::kOk : Status::kBadArgument;
}

}  // namespace fmtc
