#include "core/predict.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "core/multiversion.h"

namespace fmtc {
namespace {

// Columns whose sums over the row above are kept at a time; they stay in the first-level cache.
constexpr size_t kTile = 1024;

// All neighbours lie at fixed distances before a value, so that rows follow each other without a
// break in the loop, however narrow they are. The first column, whose left neighbours are outside,
// is put right afterwards.
template <typename Cross>
FMTC_ALWAYS_INLINE void predict_each(const int16_t* __restrict q, size_t count, size_t width,
                                     const PredictCoefficients& c, const Cross& cross,
                                     int16_t* __restrict r) noexcept {
  r[0] = residual_of(c, q[0], 0, 0, 0, cross(0));
  for (size_t i = 1; i < width; ++i) r[i] = residual_of(c, q[i], q[i - 1], 0, 0, cross(i));
  for (size_t i = width + 1; i < count; ++i) {
    r[i] = residual_of(c, q[i], q[i - 1], q[i - width], q[i - width - 1], cross(i));
  }
  for (size_t i = width; i < count; i += width) {
    r[i] = residual_of(c, q[i], 0, q[i - width], 0, cross(i));
  }
}

FMTC_ALWAYS_INLINE void predict_values(const int16_t* __restrict q, size_t count, size_t width,
                                       PredictCoefficients c, int16_t* __restrict r) noexcept {
  predict_each(
      q, count, width, c, [](size_t) { return 0U; }, r);
}
FMTC_ALWAYS_INLINE void predict_crossed(const int16_t* __restrict q, size_t count, size_t width,
                                        PredictCoefficients c, const uint32_t* __restrict cross,
                                        int16_t* __restrict r) noexcept {
  predict_each(
      q, count, width, c, [cross](size_t i) { return cross[i]; }, r);
}

// A plane of residuals that is turned into levels. cross: nullptr for zeros.
struct Residuals {
  const int16_t* residuals;
  int16_t* levels;
  PredictCoefficients coefficients;
  const uint32_t* cross;
};

// Sums of `count` columns of a row from column `begin` on, all but what is on the left; `above`
// points to the row above, or to any row where its coefficients are 0.
FMTC_ALWAYS_INLINE void sum_above(const int16_t* __restrict r, const int16_t* __restrict above,
                                  size_t begin, size_t count, const PredictCoefficients& c,
                                  uint32_t* __restrict sums) noexcept {
  size_t i = 0;
  if (begin == 0) {
    sums[0] = sum_without_left(c, r[0], above[0], 0);
    i = 1;
  }
  for (; i < count; ++i) {
    sums[i] = sum_without_left(c, r[begin + i], above[begin + i], above[begin + i - 1]);
  }
}

// One plane row by row. Each level waits for the one on its left, so the loop holds little else.
FMTC_ALWAYS_INLINE void unpredict_one(const Residuals& plane, size_t count, size_t width) noexcept {
  const PredictCoefficients& c = plane.coefficients;
  std::array<uint32_t, kTile> sums;
  for (size_t row = 0; row < count; row += width) {
    int16_t left = 0;
    const int16_t* r = plane.residuals + row;
    for (size_t begin = 0; begin < width; begin += kTile) {
      const size_t size = std::min(width - begin, kTile);
      if (row == 0) {
        sum_above(r, r, begin, size, {c.left, 0, 0}, sums.data());
      } else {
        sum_above(r, plane.levels + row - width, begin, size, c, sums.data());
      }
      if (plane.cross != nullptr) {
        const uint32_t* cross = plane.cross + row + begin;
        for (size_t i = 0; i < size; ++i) sums[i] += cross[i];
      }
      for (size_t i = 0; i < size; ++i) {
        left = level_of(sums[i], c.left, left);
        plane.levels[row + begin + i] = left;
      }
    }
  }
}

// ---------------------------------------------------------------------------------------------
// Eight planes of one size, which do not wait for each other: a position of all is a vector.

constexpr size_t kTogether = 8;
constexpr size_t kWorthEight = 3;  // fewer are faster one by one
typedef int16_t LevelVector __attribute__((vector_size(2 * kTogether)));
typedef int32_t NumberVector __attribute__((vector_size(4 * kTogether)));
typedef uint32_t SumVector __attribute__((vector_size(4 * kTogether)));

// Positions that are turned around at a time, a multiple of kTogether, and the widest planes: both
// stay in the first-level cache.
constexpr size_t kPositions = 256;
constexpr size_t kWidest = 512;

// Elements of a and, from kTogether on, of b: macros, as functions that take or give vectors have
// another ABI on other CPUs.
#if defined(__clang__)
#define FMTC_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else  // GCC before 12 has only this one
#define FMTC_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, Vector{__VA_ARGS__})
#endif

// to[i][j] = from[j][i].
template <typename Vector>
FMTC_ALWAYS_INLINE void transpose(const Vector* from, Vector* to) noexcept {
  Vector pairs[kTogether], quads[kTogether];
  const auto step = [](const Vector* rows, Vector* turned) __attribute__((always_inline)) {
    for (size_t i = 0; i < 4; ++i) {
      turned[2 * i] = FMTC_SHUFFLE(rows[i], rows[i + 4], 0, 8, 1, 9, 2, 10, 3, 11);
      turned[2 * i + 1] = FMTC_SHUFFLE(rows[i], rows[i + 4], 4, 12, 5, 13, 6, 14, 7, 15);
    }
  };
  step(from, pairs);
  step(pairs, quads);
  step(quads, to);
}

// Positions [begin, begin + count) of the planes as vectors, and back. of(p): plane p.
template <typename Vector, typename Of>
FMTC_ALWAYS_INLINE void load_positions(const Of& of, size_t begin, size_t count,
                                       Vector* to) noexcept {
  for (size_t i = 0; i < count; i += kTogether) {
    const size_t size = std::min(count - i, kTogether);
    Vector rows[kTogether];
    for (size_t p = 0; p < kTogether; ++p) {
      const auto* from = of(p) + begin + i;
      if (size == kTogether) {
        std::memcpy(&rows[p], from, sizeof(Vector));
      } else {
        rows[p] = Vector{};
        for (size_t j = 0; j < size; ++j) rows[p][j] = from[j];
      }
    }
    transpose(rows, to + i);
  }
}
FMTC_ALWAYS_INLINE void store_positions(const LevelVector* from, size_t begin, size_t count,
                                        const Residuals* planes) noexcept {
  for (size_t i = 0; i < count; i += kTogether) {
    const size_t size = std::min(count - i, kTogether);
    LevelVector rows[kTogether];
    transpose(from + i, rows);
    for (size_t p = 0; p < kTogether; ++p) {
      int16_t* to = planes[p].levels + begin + i;
      if (size == kTogether) {
        std::memcpy(to, &rows[p], sizeof(LevelVector));
      } else {
        for (size_t j = 0; j < size; ++j) to[j] = rows[p][j];
      }
    }
  }
}

// width <= kWidest. crossed: whether all planes have `cross`; else none has.
template <bool crossed>
FMTC_ALWAYS_INLINE void unpredict_together(const Residuals* planes, size_t count,
                                           size_t width) noexcept {
  NumberVector of_left, of_above, of_above_left;
  for (size_t p = 0; p < kTogether; ++p) {
    of_left[p] = planes[p].coefficients.left;
    of_above[p] = planes[p].coefficients.above;
    of_above_left[p] = planes[p].coefficients.above_left;
  }
  std::array<NumberVector, kWidest> row;  // the last level of each column
  std::fill_n(row.begin(), width, NumberVector{});
  std::array<LevelVector, kPositions> now;
  std::array<SumVector, crossed ? kPositions : 1> cross;
  NumberVector left{}, above_left{};
  size_t column = 0;
  for (size_t begin = 0; begin < count; begin += kPositions) {
    const size_t size = std::min(count - begin, kPositions);
    load_positions([&](size_t p) { return planes[p].residuals; }, begin, size, now.data());
    if (crossed)
      load_positions([&](size_t p) { return planes[p].cross; }, begin, size, cross.data());
    for (size_t i = 0; i < size;) {
      const size_t end = i + std::min(size - i, width - column);
      for (; i < end; ++i, ++column) {
        const NumberVector above = row[column];
        const NumberVector residual = __builtin_convertvector(now[i], NumberVector);
        const NumberVector sum = of_above * above + of_above_left * above_left + kPredictUnit / 2 +
                                 residual * kPredictUnit;
        const auto other = reinterpret_cast<SumVector>(sum) + (crossed ? cross[i] : SumVector{});
        const auto all = reinterpret_cast<SumVector>(of_left * left) + other;
        left = (reinterpret_cast<NumberVector>(all) >> kPredictBits << 16) >> 16;  // modulo 2^16
        above_left = above;
        row[column] = left;
        now[i] = __builtin_convertvector(left, LevelVector);
      }
      if (column == width) {
        column = 0;
        left = above_left = NumberVector{};
      }
    }
    store_positions(now.data(), begin, size, planes);
  }
}

// Where nothing waits for the level on the left: this vectorises.
FMTC_ALWAYS_INLINE void unpredict_from_above(const Residuals& plane, size_t count,
                                             size_t width) noexcept {
  const PredictCoefficients c = plane.coefficients;
  const int16_t* __restrict r = plane.residuals;
  int16_t* __restrict q = plane.levels;
  for (size_t i = 0; i < width; ++i) q[i] = r[i];
  for (size_t row = width; row < count; row += width) {
    const int16_t* above = q + row - width;
    q[row] = level_of(sum_without_left(c, r[row], above[0], 0), 0, 0);
    for (size_t w = 1; w < width; ++w) {
      q[row + w] = level_of(sum_without_left(c, r[row + w], above[w], above[w - 1]), 0, 0);
    }
  }
}

bool valid_sizes(size_t input, uint64_t width, size_t output) noexcept {
  return input == output && (input == 0 || (width > 0 && input % width == 0));
}

bool fits(std::span<const uint32_t> cross, size_t size) noexcept {
  return cross.empty() || cross.size() == size;
}

bool is_zero(const PredictCoefficients& c) noexcept { return c == PredictCoefficients{0, 0, 0}; }

bool within_limit(int32_t coefficient) noexcept { return std::abs(coefficient) <= kPredictLimit; }

}  // namespace

bool valid(const PredictCoefficients& coefficients) noexcept {
  return within_limit(coefficients.left) && within_limit(coefficients.above) &&
         within_limit(coefficients.above_left);
}

Status predict_plane(std::span<const int16_t> levels, uint64_t width,
                     const PredictCoefficients& coefficients, std::span<int16_t> residuals,
                     std::span<const uint32_t> cross) noexcept {
  if (!valid_sizes(levels.size(), width, residuals.size()) || !fits(cross, levels.size())) {
    return Status::kBadArgument;
  }
  if (!valid(coefficients)) return Status::kOutOfRange;
  if (levels.empty()) return Status::kOk;
  if (!cross.empty()) {
    multiversion<predict_crossed>(levels.data(), levels.size(), width, coefficients, cross.data(),
                                  residuals.data());
  } else if (is_zero(coefficients)) {
    std::copy(levels.begin(), levels.end(), residuals.begin());
  } else {
    multiversion<predict_values>(levels.data(), levels.size(), width, coefficients,
                                 residuals.data());
  }
  return Status::kOk;
}

Status unpredict_planes(std::span<const int16_t> residuals, uint64_t width,
                        std::span<const PredictCoefficients> coefficients,
                        std::span<int16_t> levels, std::span<const uint32_t> cross) noexcept {
  if (coefficients.empty()) {
    return residuals.empty() && levels.empty() ? Status::kOk : Status::kBadArgument;
  }
  const size_t plane = residuals.size() / coefficients.size();
  if (plane * coefficients.size() != residuals.size() || !valid_sizes(plane, width, plane) ||
      levels.size() != residuals.size() || !fits(cross, levels.size())) {
    return Status::kBadArgument;
  }
  if (!std::all_of(coefficients.begin(), coefficients.end(), valid)) return Status::kOutOfRange;
  if (plane == 0) return Status::kOk;
  std::array<Residuals, kTogether> waiting;
  size_t count = 0;
  const auto make_waiting = [&] {
    if (count >= kWorthEight && width <= kWidest) {
      // In the place of planes that are not there the first one is made again.
      std::fill(waiting.begin() + count, waiting.end(), waiting[0]);
      if (cross.empty()) {
        multiversion<unpredict_together<false>>(waiting.data(), plane, width);
      } else {
        multiversion<unpredict_together<true>>(waiting.data(), plane, width);
      }
    } else {
      for (size_t i = 0; i < count; ++i) {
        multiversion<unpredict_one>(waiting[i], plane, width);
      }
    }
    count = 0;
  };
  for (size_t k = 0; k < coefficients.size(); ++k) {
    const Residuals task = {residuals.data() + k * plane, levels.data() + k * plane,
                            coefficients[k], cross.empty() ? nullptr : cross.data() + k * plane};
    if (cross.empty() && is_zero(task.coefficients)) {
      std::copy_n(task.residuals, plane, task.levels);
    } else if (cross.empty() && task.coefficients.left == 0) {
      multiversion<unpredict_from_above>(task, plane, width);
    } else {
      waiting[count++] = task;
      if (count == kTogether) make_waiting();
    }
  }
  make_waiting();
  return Status::kOk;
}

}  // namespace fmtc
