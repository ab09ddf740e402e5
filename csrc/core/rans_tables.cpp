// Tables of frequencies, for the encoder and the decoder.
#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/rans.h"
#include "core/rans_states.h"
#include "core/rans_value.h"

namespace fmtc {
namespace {

// Calls visit(index, frequency, start) for each entry of a valid table that has slots.
template <typename Visit>
void for_each_symbol(std::span<const int32_t> frequencies, Visit visit) noexcept {
  uint32_t start = 0;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const auto frequency = static_cast<uint32_t>(frequencies[i]);
    if (frequency > 0) visit(i, frequency, start);
    start += frequency;
  }
}

// log2 of a sum of frequencies, or 0 where it is none that is allowed.
int log2_of_total(uint32_t total) noexcept {
  const bool good =
      std::has_single_bit(total) && total >= 1u << kMinLog2Total && total <= 1u << kMaxLog2Total;
  return good ? std::countr_zero(total) : 0;
}

}  // namespace

// The escape's slots are the last ones, so its entry tells how many there are.
int rans::encode_log2_total(std::span<const uint32_t> entries) noexcept {
  const uint32_t escape = entries.back();
  return encode_frequency(escape) == 0
             ? 0
             : log2_of_total(encode_frequency(escape) + encode_start(escape));
}

int rans_log2_total(std::span<const int32_t> frequencies) noexcept {
  if (frequencies.size() < 2 || frequencies.size() > kMaxSymbols + 1 || frequencies.back() < 1) {
    return 0;
  }
  uint32_t total = 0;
  size_t first = frequencies.size();
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const int32_t frequency = frequencies[i];
    if (frequency < 0 || frequency > kMaxTotal) return 0;
    total += static_cast<uint32_t>(frequency);
    if (frequency == 0 || i + 1 == frequencies.size()) continue;
    first = std::min(first, i);
    if (i - first >= kMaxDirectLevels) return 0;
  }
  return log2_of_total(total);
}

Status rans_encode_table(std::span<const int32_t> frequencies,
                         std::span<uint32_t> entries) noexcept {
  if (entries.size() != frequencies.size()) return Status::kBadArgument;
  if (rans_log2_total(frequencies) == 0) return Status::kBadTable;
  std::fill(entries.begin(), entries.end(), 0u);
  for_each_symbol(frequencies, [&](size_t index, uint32_t frequency, uint32_t start) {
    entries[index] = frequency << 16 | start;
  });
  return Status::kOk;
}

Status rans_decode_table(std::span<const int32_t> frequencies, std::span<uint32_t> entries,
                         int64_t& base) noexcept {
  const int log2_total = rans_log2_total(frequencies);
  if (log2_total == 0) return Status::kBadTable;
  if (entries.size() != size_t{1} << log2_total) return Status::kBadArgument;
  const size_t escape = frequencies.size() - 1;
  size_t first = 0;
  while (first < escape && frequencies[first] == 0) ++first;
  if (first == escape) first = 0;  // every level is escaped
  for_each_symbol(frequencies, [&](size_t index, uint32_t frequency, uint32_t start) {
    const uint32_t symbol = index == escape ? kEscapeSymbol : static_cast<uint32_t>(index - first);
    for (uint32_t i = 0; i < frequency; ++i) {
      entries[start + i] = i << 20 | (frequency - 1) << 8 | symbol;
    }
  });
  base = static_cast<int64_t>(first);
  return Status::kOk;
}

Status rans_check_encode_tables(const ComponentTables& tables, uint64_t components) noexcept {
  if (!tables_valid(tables, components) || tables.width < 2 || tables.width > kMaxSymbols + 1) {
    return Status::kBadArgument;
  }
  for (size_t i = 0; i < tables.count(); ++i) {
    const int log2_total = rans::encode_log2_total(tables.table(i));
    if (log2_total == 0 || log2_total != rans::encode_log2_total(tables.table(0))) {
      return Status::kBadTable;
    }
  }
  return Status::kOk;
}

Status rans_check_decode_tables(const ComponentTables& tables, uint64_t components) noexcept {
  const bool good =
      tables_valid(tables, components) &&
      log2_of_total(static_cast<uint32_t>(std::min<size_t>(tables.width, kMaxTotal + 1))) != 0 &&
      tables.base.size() == tables.count() &&
      std::all_of(tables.base.begin(), tables.base.end(), [](int64_t base) {
        return base >= 0 && base < static_cast<int64_t>(kMaxSymbols);
      });
  return good ? Status::kOk : Status::kBadArgument;
}

}  // namespace fmtc
