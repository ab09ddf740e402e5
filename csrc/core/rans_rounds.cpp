#include "core/rans_rounds.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

namespace fmtc::rans {
namespace {

const RansKernel* kernel_of(const RansKernels* kernels, int states, const ComponentTables& tables,
                            int log2_total) noexcept {
  const int index = std::countr_zero(static_cast<uint32_t>(states)) - RansKernels::kMinLog2States;
  const bool fits = kernels != nullptr && index >= 0 && log2_total == kKernelLog2Total &&
                    tables.entries.size() <= std::numeric_limits<uint32_t>::max();
  if (!fits) return nullptr;
#if defined(FMTC_X86_KERNELS)
  if (kernels->of_states[index].encode == nullptr) kernels = &kRansAvx2;
#endif
  return &kernels->of_states[index];
}

// The tables of the lanes of a round.
struct EncodeLanes {
  alignas(64) std::array<uint32_t, kMaxStates> table;
  alignas(64) std::array<uint32_t, kMaxStates> escape;

  void set(const ComponentTables& tables, size_t index, size_t begin, size_t end) noexcept {
    std::fill(table.begin() + begin, table.begin() + end,
              static_cast<uint32_t>(index * tables.width));
    std::fill(escape.begin() + begin, escape.begin() + end, tables.table(index).back());
  }
};

struct DecodeLanes {
  alignas(64) std::array<uint32_t, kMaxStates> table;
  alignas(64) std::array<uint16_t, kMaxStates> offset;

  void set(const ComponentTables& tables, size_t index, size_t begin, size_t end) noexcept {
    std::fill(table.begin() + begin, table.begin() + end,
              static_cast<uint32_t>(index * tables.width));
    std::fill(offset.begin() + begin, offset.begin() + end,
              static_cast<uint16_t>(tables.lo + tables.base[index]));
  }
};

}  // namespace

const RansKernel* decode_kernel(const RansKernels* kernels, int states,
                                const ComponentTables& tables) noexcept {
  return kernel_of(kernels, states, tables, std::countr_zero(tables.width));
}

const RansKernel* encode_kernel(const RansKernels* kernels, int states,
                                const ComponentTables& tables, int log2_total) noexcept {
  return symbols_distinct(tables) ? kernel_of(kernels, states, tables, log2_total) : nullptr;
}

void encode_rounds(const RansKernel& kernel, const int16_t* levels, size_t rounds,
                   const ComponentTables& tables, size_t count, BackwardRunCursor& run,
                   EncoderState& state) noexcept {
  EncodeLanes lanes;
  RansEncodeRounds shared = {tables.entries.data(),
                             lanes.table.data(),
                             lanes.escape.data(),
                             false,
                             tables.lo,
                             static_cast<uint32_t>(tables.width - 1),
                             state.states.data(),
                             state.digits,
                             state.escapes};
  while (rounds > 0) {
    size_t together = run.size() / count;
    shared.one_table = together > 0;
    if (together > 0) {
      lanes.set(tables, run.table(), 0, count);
      run.advance(together * count);
    } else {
      together = 1;
      for (size_t end = count; end > 0;) {
        const size_t values = std::min(run.size(), end);
        lanes.set(tables, run.table(), end - values, end);
        run.advance(values);
        end -= values;
      }
    }
    rounds -= together;
    kernel.encode(shared, levels + rounds * count, together);
  }
  state.digits = shared.digits;
  state.escapes = shared.escapes;
}

bool decode_rounds(const RansKernel& kernel, std::span<const uint8_t> payload, size_t rounds,
                   const ComponentTables& tables, size_t count, RunCursor& run, DecoderState& state,
                   int16_t* levels) noexcept {
  const size_t digits_of_round = kRansDigitBytes * count;
  const uint8_t* const payload_end = payload.data() + payload.size();
  // Where the digits of a round might reach beyond the payload, it is read from a copy that zeros
  // follow. A good payload ends before them, so a kernel does not stop for want of digits there.
  // A kernel begins a round with digits_of_round bytes before digits_end, reads no byte behind them
  // and takes no more. Of the payload, less than a round is left when it is copied; with zeros for
  // one more, digits_end is within the copy, and a round that begins at the last good digit or
  // before is decoded. One that begins behind it, which no good payload has, stops the kernel.
  std::array<uint8_t, 2 * kRansDigitBytes * kMaxStates> tail{};
  size_t in_tail = 0;
  DecodeLanes lanes;
  RansDecodeRounds shared = {tables.entries.data(), lanes.table.data(), lanes.offset.data(),
                             state.states.data(),   state.digits,       payload_end,
                             state.escapes,         payload.data()};
  while (rounds > 0) {
    size_t together = run.size() / count;
    if (together > 0) {
      lanes.set(tables, run.table(), 0, count);
      run.advance(together * count);
    } else {
      together = 1;
      for (size_t begin = 0; begin < count;) {
        const size_t values = std::min(run.size(), count - begin);
        lanes.set(tables, run.table(), begin, begin + values);
        run.advance(values);
        begin += values;
      }
    }
    rounds -= together;
    for (;;) {
      const size_t done = kernel.decode(shared, levels, together);
      levels += done * count;
      together -= done;
      if (together == 0) break;
      const auto left = static_cast<size_t>(shared.digits_end - shared.digits);
      if (left >= digits_of_round || shared.digits_end != payload_end) return false;
      std::memcpy(tail.data(), shared.digits, left);
      in_tail = left;
      shared.digits = tail.data();
      shared.digits_end = tail.data() + left + digits_of_round;
    }
  }
  if (shared.digits_end != payload_end) {
    const auto taken = static_cast<size_t>(shared.digits - tail.data());
    if (taken > in_tail) return false;
    shared.digits = payload_end - (in_tail - taken);
  }
  state.digits = shared.digits;
  state.escapes = shared.escapes;
  return state.digits <= state.escapes;
}

}  // namespace fmtc::rans
