#include "core/coding.h"

#include <limits>

namespace fmtc {
namespace {

constexpr int64_t kMaxTotalCount = int64_t{1} << 59;

}  // namespace

bool counts_valid(std::span<const int64_t> counts) noexcept {
  int64_t total = 0;
  for (const int64_t count : counts) {
    if (count < 0 || count >= kMaxTotalCount - total) return false;
    total += count;
  }
  return true;
}

bool tables_valid(const ComponentTables& tables, uint64_t components) noexcept {
  if (tables.width == 0 || tables.entries.size() % tables.width != 0 ||
      tables.table_of.size() != tables.segments(components) ||
      tables.lo < std::numeric_limits<int16_t>::min() ||
      tables.lo > std::numeric_limits<int16_t>::max()) {
    return false;
  }
  const auto count = static_cast<int64_t>(tables.count());
  return std::all_of(tables.table_of.begin(), tables.table_of.end(),
                     [count](int64_t table) { return table >= 0 && table < count; });
}

}  // namespace fmtc
