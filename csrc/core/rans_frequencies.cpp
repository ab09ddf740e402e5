// Frequencies of counts. Compiled without fused multiply-adds, so that they are the same
// everywhere.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/rans.h"
#include "core/rans_counts.h"

namespace fmtc {
namespace {

// A direct level must have at least 2^-i of the counts that a slot stands for, for one of these i.
constexpr int kThresholds = 6;

// The symbols of a table and how their slots are dealt out.
class Allocation {
 public:
  // window: the counts of the levels that may be direct; outside: the sum of all others.
  // threshold: the least count of a direct level.
  Allocation(std::span<const int64_t> window, double outside, double threshold) noexcept {
    double escaped = outside;
    for (size_t i = 0; i < window.size(); ++i) {
      const auto count = static_cast<double>(window[i]);
      if (window[i] > 0 && count >= threshold) {
        symbols_[size_++] = {count, 1, i};
      } else {
        escaped += count;
      }
    }
    symbols_[size_++] = {escaped, 1, kEscapeSymbol};
  }

  // Gives each symbol a slot and every other slot to the symbol that it saves most bits: as each
  // slot saves a symbol less than the one before, no other allocation is shorter.
  void deal(int total) noexcept {
    const auto less = [](const Symbol& a, const Symbol& b) {
      const double gain_a = a.gain(), gain_b = b.gain();
      return gain_a != gain_b ? gain_a < gain_b : a.index > b.index;
    };
    const auto begin = symbols_.begin();
    const auto end = begin + static_cast<std::ptrdiff_t>(size_);
    std::make_heap(begin, end, less);
    for (auto left = total - static_cast<int>(size_); left > 0; --left) {
      std::pop_heap(begin, end, less);
      ++(end - 1)->frequency;
      std::push_heap(begin, end, less);
    }
  }

  // Bits of all counts.
  double bits(int log2_total) const noexcept {
    double sum = 0;
    for (const Symbol& symbol : std::span(symbols_.data(), size_)) {
      const double extra = symbol.index == kEscapeSymbol ? kEscapedBits : 0;
      sum += symbol.count * (log2_total - kLog2.of[symbol.frequency] + extra);
    }
    return sum;
  }

  // frequencies: [L + 1], of which the window begins at `first`.
  void store(size_t first, std::span<int32_t> frequencies) const noexcept {
    std::fill(frequencies.begin(), frequencies.end(), 0);
    for (const Symbol& symbol : std::span(symbols_.data(), size_)) {
      const bool escape = symbol.index == kEscapeSymbol;
      frequencies[escape ? frequencies.size() - 1 : first + symbol.index] =
          static_cast<int32_t>(symbol.frequency);
    }
  }

 private:
  struct Symbol {
    double count;
    uint32_t frequency;
    size_t index;  // in the window, or kEscapeSymbol

    double gain() const noexcept { return count * kLog2.gain[frequency]; }
  };

  std::array<Symbol, kMaxDirectLevels + 1> symbols_;
  size_t size_ = 0;
};

// The shortest of the allocations that make few or many levels direct.
Allocation best_allocation(std::span<const int64_t> window, double outside,
                           int log2_total) noexcept {
  const int total = 1 << log2_total;
  double threshold = (total_of(window) + outside) / total;
  Allocation best(window, outside, threshold);
  best.deal(total);
  for (int i = 1; i <= kThresholds; ++i) {
    threshold = i < kThresholds ? threshold / 2 : 0;
    Allocation other(window, outside, threshold);
    other.deal(total);
    if (other.bits(log2_total) < best.bits(log2_total)) best = other;
  }
  return best;
}

}  // namespace

Status rans_frequencies(std::span<const int64_t> counts, int log2_total,
                        std::span<int32_t> frequencies) noexcept {
  if (log2_total < kMinLog2Total || log2_total > kMaxLog2Total || counts.empty() ||
      counts.size() > kMaxSymbols || frequencies.size() != counts.size() + 1) {
    return Status::kBadArgument;
  }
  if (!counts_valid(counts)) return Status::kOutOfRange;
  const Window window(counts);
  best_allocation(window.counts(), window.outside(), log2_total).store(window.first(), frequencies);
  return Status::kOk;
}

}  // namespace fmtc
