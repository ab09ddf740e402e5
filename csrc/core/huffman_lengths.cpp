// Code lengths of counts.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "core/huffman.h"

namespace fmtc {
namespace {

// Package-merge over the symbols sorted by count. Each of max_length rounds merges the leaves with
// the pairs ("packages") of the round before; which of the two an item is, is all that need be
// kept: taking the first 2n - 2 items of the last round, the leaves among them are the first ones
// in sorted order, and the packages stand for the first items of the round before.
class PackageMerge {
 public:
  // order: the used symbols by ascending count, at least two and at most 2^max_length.
  PackageMerge(std::span<const int64_t> counts, std::span<const uint16_t> order) noexcept
      : counts_(counts), order_(order) {}

  void run(int max_length, std::span<uint8_t> lengths) noexcept {
    for (int round = 0; round < max_length; ++round) merge(round);
    size_t taken = 2 * order_.size() - 2;
    for (int round = max_length - 1; round >= 0; --round) {
      const auto& leaf = is_leaf_[static_cast<size_t>(round)];
      const auto leaves = static_cast<size_t>(
          std::count(leaf.begin(), leaf.begin() + static_cast<std::ptrdiff_t>(taken), true));
      for (size_t i = 0; i < leaves; ++i) ++lengths[order_[i]];
      taken = 2 * (taken - leaves);
    }
  }

 private:
  void merge(int round) noexcept {
    const size_t packages = size_ / 2;
    size_t leaf = 0;
    size_t package = 0;
    for (size_t i = 0; i < order_.size() + packages; ++i) {
      const int64_t package_weight =
          package < packages ? weights_[2 * package] + weights_[2 * package + 1] : 0;
      const bool take_leaf =
          package == packages || (leaf < order_.size() && counts_[order_[leaf]] <= package_weight);
      merged_[i] = take_leaf ? counts_[order_[leaf]] : package_weight;
      is_leaf_[static_cast<size_t>(round)][i] = take_leaf;
      leaf += take_leaf;
      package += !take_leaf;
    }
    size_ = order_.size() + packages;
    std::swap(weights_, merged_);
  }

  std::span<const int64_t> counts_;
  std::span<const uint16_t> order_;
  size_t size_ = 0;  // items of the last round
  std::array<int64_t, 2 * kMaxSymbols> weights_;
  std::array<int64_t, 2 * kMaxSymbols> merged_;
  std::array<std::array<bool, 2 * kMaxSymbols>, kMaxCodeLength> is_leaf_;
};

}  // namespace

Status huffman_lengths(std::span<const int64_t> counts, int max_length,
                       std::span<uint8_t> lengths) noexcept {
  if (max_length < 1 || max_length > kMaxCodeLength || lengths.size() != counts.size()) {
    return Status::kBadArgument;
  }
  if (!counts_valid(counts)) return Status::kOutOfRange;
  if (counts.size() > kMaxSymbols) return Status::kBadTable;
  std::array<uint16_t, kMaxSymbols> order;
  size_t used = 0;
  for (size_t symbol = 0; symbol < counts.size(); ++symbol) {
    if (counts[symbol] > 0) order[used++] = static_cast<uint16_t>(symbol);
  }
  if (used > size_t{1} << max_length) return Status::kBadTable;
  std::fill(lengths.begin(), lengths.end(), uint8_t{0});
  if (used == 1) lengths[order[0]] = 1;
  if (used < 2) return Status::kOk;
  const std::span<uint16_t> symbols(order.data(), used);
  std::sort(symbols.begin(), symbols.end(), [&](uint16_t a, uint16_t b) {
    return counts[a] != counts[b] ? counts[a] < counts[b] : a < b;
  });
  PackageMerge(counts, symbols).run(max_length, lengths);
  return Status::kOk;
}

}  // namespace fmtc
