#pragma once

// The sums of core/predict_sources.h by vectors, which a file for each instruction set compiles
// over its own wrapper of one. A Vector has kColumns sums of 32 bits each in a Type, and
//   zero(), all(factor)           the same in each
//   pairs(from, count)            `count` pairs of levels from there
//   add_products(sums, two, by)   sums + the products of both levels, modulo 2^32
//   store(sums, to, count)        the first `count` of them
#include <algorithm>
#include <cstddef>
#include <cstdint>

#include "core/predict_sources.h"

namespace fmtc {
namespace {

constexpr size_t kSide = 3;  // of a window

// `count` sums of each of kRows rows from column `begin` on, which stay in registers: a row of the
// sources is loaded once for all of the rows that it is a neighbour of.
template <typename Vector, size_t kRows>
inline void sum_columns(const CrossRow& row, size_t begin, size_t count) noexcept {
  typename Vector::Type sums[kRows];
  for (size_t r = 0; r < kRows; ++r) sums[r] = Vector::zero();
  const int32_t* factors = row.factors;
  for (size_t pair = 0; pair < row.count; ++pair, factors += kWindow) {
    const int16_t* plane = row.pairs + row.planes[pair] + 2 * begin;
    for (size_t x = 0; x < kSide; ++x) {
      typename Vector::Type factor[kSide];
      for (size_t y = 0; y < kSide; ++y) factor[y] = Vector::all(factors[y * kSide + x]);
#pragma GCC unroll 16
      for (size_t from = 0; from < kRows + kSide - 1; ++from) {
        const auto two = Vector::pairs(plane + from * row.row + 2 * x, count);
#pragma GCC unroll 4
        for (size_t y = 0; y < kSide; ++y) {
          if (from < y || from - y >= kRows) continue;
          sums[from - y] = Vector::add_products(sums[from - y], two, factor[y]);
        }
      }
    }
  }
  for (size_t r = 0; r < kRows; ++r) {
    Vector::store(sums[r], row.cross + r * row.width + begin, count);
  }
}

// What few columns are left goes into a Narrow vector.
template <typename Vector, typename Narrow, size_t kRows>
void sum_some(const CrossRow& row) noexcept {
  size_t begin = 0;
  for (; row.width - begin > Narrow::kColumns; begin += Vector::kColumns) {
    sum_columns<Vector, kRows>(row, begin, std::min(Vector::kColumns, row.width - begin));
    if (row.width - begin <= Vector::kColumns) return;
  }
  if (begin < row.width) sum_columns<Narrow, kRows>(row, begin, row.width - begin);
}

// Of at most kMost rows together, of as many as possible.
template <typename Vector, typename Narrow, size_t kMost>
void sum_rows(const CrossRow& row, size_t count) noexcept {
  if constexpr (kMost > 1) {
    if (count < kMost) return sum_rows<Vector, Narrow, kMost - 1>(row, count);
  }
  sum_some<Vector, Narrow, kMost>(row);
}

// All rows, in parts of about the same size.
template <typename Vector, typename Narrow, size_t kMost>
void cross_rows(CrossRow row, size_t height) noexcept {
  for (size_t parts = (height + kMost - 1) / kMost; parts > 0; --parts) {
    const size_t count = height / parts;
    sum_rows<Vector, Narrow, kMost>(row, count);
    row.pairs += count * row.row;
    row.cross += count * row.width;
    height -= count;
  }
}

}  // namespace
}  // namespace fmtc
