#pragma once

// Whole rounds of a chunk, coded by the kernels of an instruction set (core/rans_kernels.h).
#include <cstddef>
#include <cstdint>
#include <span>

#include "core/coding.h"
#include "core/rans_kernels.h"
#include "core/rans_states.h"

namespace fmtc::rans {

// The kernel for this many states, or null where the scalar code is to be used.
const RansKernel* decode_kernel(const RansKernels* kernels, int states,
                                const ComponentTables& tables) noexcept;
const RansKernel* encode_kernel(const RansKernels* kernels, int states,
                                const ComponentTables& tables, int log2_total) noexcept;

// Encodes the first rounds * count values, of which `run` stands at the last one.
void encode_rounds(const RansKernel& kernel, const int16_t* levels, size_t rounds,
                   const ComponentTables& tables, size_t count, BackwardRunCursor& run,
                   EncoderState& state) noexcept;

// Decodes `rounds` * count values from the one on that `run` stands at; false for a payload that
// does not hold them.
bool decode_rounds(const RansKernel& kernel, std::span<const uint8_t> payload, size_t rounds,
                   const ComponentTables& tables, size_t count, RunCursor& run, DecoderState& state,
                   int16_t* levels) noexcept;

}  // namespace fmtc::rans
