#pragma once

#include <cstddef>
#include <cstdint>

namespace fmtc {

// The vector code of the rANS coder: whole rounds of a chunk, a value of each state, for tables of
// 2^12 slots. rans_chunk.cpp does the rest in scalar code, rans_rounds.cpp and rans_group.cpp
// decide what the kernels are given.
//
// Lane i of a round belongs to state i and has a table of its own, so a round may cross the border
// between two components. [S] arrays are aligned to 64 bytes.

inline constexpr int kKernelLog2Total = 12;

struct RansEncodeRounds {
  const uint32_t* entries;  // of all tables, as rans_encode_table makes them
  const uint32_t* table;    // [S] where the lane's table begins in `entries`, below 2^32
  const uint32_t* escape;   // [S] the lane's entry of the escape
  bool one_table;           // whether all lanes have the same
  int32_t lo;               // lo + direct <= 32768
  uint32_t direct;          // entries of a table before that of the escape
  uint32_t* states;         // [S]
  // Digits end here, escaped levels begin: for each value there are 2 bytes to be written before
  // and behind. The last round is encoded first.
  uint8_t* digits;
  uint8_t* escapes;
};

struct RansDecodeRounds {
  const uint32_t* entries;  // of all tables, as rans_decode_table makes them
  const uint32_t* table;    // [S] where the lane's table begins in `entries`, below 2^32
  const uint16_t* offset;   // [S] the level of the lane's symbol 0, modulo 2^16
  uint32_t* states;         // [S]
  const uint8_t* digits;    // the next digit
  const uint8_t* digits_end;
  const uint8_t* escapes;  // the next escaped level ends here
  const uint8_t* escapes_begin;
};

// For one number of states.
struct RansKernel {
  // Encodes `rounds` * S levels.
  void (*encode)(RansEncodeRounds& state, const int16_t* levels, size_t rounds);
  // Decodes up to `rounds` * S levels; returns the rounds done. Stops early, before a round, where
  // fewer than S digits are left before digits_end; or in a round, which then does not count, where
  // an escaped level is not between the two ends: the payload is damaged. Any bytes and entries
  // (whose frequencies are then any) are safe.
  size_t (*decode)(RansDecodeRounds& state, int16_t* levels, size_t rounds);
};

// Rounds of several chunks with the same small number S of states, each giving or taking digits of
// its own: lane i is state i % S of chunk i / S. L is the number of lanes.
struct RansGroupEncodeRounds {
  const uint32_t* entries;   // [rounds, L] of the value, a frequency of at least 1
  uint32_t* states;          // [L]
  const uint32_t* chunk_of;  // [L] below 2^16
  // The digits of all chunks end here, in the order of rounds and lanes, and in `chunks` the
  // chunk_of of each. For a value there are 2 bytes to be written before, and kGroupSlack more.
  uint8_t* digits;
  uint8_t* chunks;
};
inline constexpr size_t kGroupSlack = 32;

// Returns the number of digits. The last round is encoded first.
using RansGroupEncode = size_t (*)(RansGroupEncodeRounds& state, size_t rounds);

struct RansGroupDecodeRounds {
  const uint32_t* entries;  // of all tables, as rans_decode_table makes them
  const uint32_t* table;    // [rounds, L] where the value's table begins in `entries`, below 2^32
  const uint16_t* offset;   // [rounds, L] the level of the value's symbol 0, modulo 2^16
  uint32_t* states;         // [L]
  const uint8_t* digits;    // of all chunks; a chunk takes at most S a round
  uint32_t* next;           // [L] the byte in `digits` where the next digit of the lane's chunk is;
                            // written for the first lane of each
  int16_t* const* levels;   // [L / S] [rounds * S], written, of each chunk; an escape's is
                            // kEscapeSymbol above the offset
};

// Returns the set of lanes with escapes: bit i is lane i.
using RansGroupDecode = uint32_t (*)(RansGroupDecodeRounds& state, size_t rounds);

// Of one instruction set. A set that has none for so few states or lanes leaves them to AVX2.
struct RansKernels {
  static constexpr int kMinLog2States = 3;
  RansKernel of_states[4];  // 8, 16, 32 and 64
  static constexpr int kMaxLog2GroupStates = 3;
  static constexpr int kMinLog2GroupLanes = 3, kMaxLog2GroupLanes = 5;
  RansGroupEncode encode_group[3];     // 8, 16 and 32 lanes
  RansGroupDecode decode_group[4][3];  // the same for 1, 2, 4 and 8 states of a chunk
};

inline constexpr size_t kMinGroupLanes = size_t{1} << RansKernels::kMinLog2GroupLanes;
inline constexpr size_t kMaxGroupLanes = size_t{1} << RansKernels::kMaxLog2GroupLanes;

extern const RansKernels kRansNeon;
extern const RansKernels kRansAvx2;
extern const RansKernels kRansAvx512;

}  // namespace fmtc
