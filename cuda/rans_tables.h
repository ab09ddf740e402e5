#pragma once

// Tables of the rANS coder as its kernels look them up: made smaller or faster for shared memory,
// or as they are in global memory where shared memory does not hold them.
#include "core/coding.h"
#include "core/rans.h"
#include "core/rans_value.h"
#include "cuda/kernel.h"

namespace fmtc::cuda {

// The first step of a value: its symbol and the state before it takes a digit.
struct Decoded {
  uint32_t symbol, state;
};

// A decode table for 2^12 slots takes 16 KB, too much for several in shared memory. Here a slot has
// its symbol alone, in a byte, and a symbol its frequency and first slot.
class SharedDecodeTables {
 public:
  static constexpr bool kShared = true;

  FMTC_HD static size_t bytes(const ComponentTables& tables) {
    return tables.count() * stride(tables);
  }

  // By all threads of a thread block.
  //   shared  bytes(tables)
  FMTC_DEVICE SharedDecodeTables(const Thread& thread, const ComponentTables& tables,
                                 uint8_t* shared)
      : shared_(shared),
        slot_mask_(static_cast<uint32_t>(tables.width) - 1),
        log2_total_(count_bits(slot_mask_)),
        stride_(static_cast<uint32_t>(stride(tables))) {
    const auto count = static_cast<uint32_t>(tables.count());
    for (uint32_t i = thread.rank(); i < count * kSymbols; i += thread.size()) {
      symbol_at(i / kSymbols * stride_, i % kSymbols) = 0;
    }
    thread.sync();
    const auto width = static_cast<uint32_t>(tables.width);
    for (uint32_t i = thread.rank(); i < count * width; i += thread.size()) {
      const uint32_t entry = tables.entries[i], slot = i & slot_mask_;
      const uint32_t table = i / width * stride_, symbol = decode_symbol(entry);
      shared_[table + kSymbols * sizeof(uint32_t) + slot] = static_cast<uint8_t>(symbol);
      if (entry >> 20 == 0) symbol_at(table, symbol) = slot << 16 | ((entry >> 8 & 0xFFF) + 1);
    }
    thread.sync();
  }

  // What `decode` takes for a table.
  FMTC_DEVICE uint32_t place(size_t table) const { return static_cast<uint32_t>(table) * stride_; }

  FMTC_DEVICE Decoded decode(uint32_t table, uint32_t state) const {
    const uint32_t slot = state & slot_mask_;
    const uint32_t symbol = shared_[table + kSymbols * sizeof(uint32_t) + slot];
    const uint32_t entry = symbol_at(table, symbol);
    return {symbol, (entry & 0xFFFF) * (state >> log2_total_) + slot - (entry >> 16)};
  }

 private:
  static constexpr uint32_t kSymbols = kEscapeSymbol + 1;

  FMTC_HD static size_t stride(const ComponentTables& tables) {
    return kSymbols * sizeof(uint32_t) + tables.width;
  }
  FMTC_DEVICE uint32_t& symbol_at(uint32_t table, uint32_t symbol) const {
    return *reinterpret_cast<uint32_t*>(shared_ + table + symbol * sizeof(uint32_t));
  }

  uint8_t* shared_;
  uint32_t slot_mask_;
  int log2_total_;
  uint32_t stride_;
};

class GlobalDecodeTables {
 public:
  static constexpr bool kShared = false;

  FMTC_HD static size_t bytes(const ComponentTables&) { return 0; }

  FMTC_DEVICE GlobalDecodeTables(const Thread&, const ComponentTables& tables, uint8_t*)
      : entries_(tables.entries.data()),
        slot_mask_(static_cast<uint32_t>(tables.width) - 1),
        log2_total_(count_bits(slot_mask_)) {}

  FMTC_DEVICE size_t place(size_t table) const { return table * (size_t{slot_mask_} + 1); }

  FMTC_DEVICE Decoded decode(size_t table, uint32_t state) const {
    const uint32_t entry = entries_[table + (state & slot_mask_)];
    return {decode_symbol(entry), decode_value(state, entry, log2_total_)};
  }

 private:
  const uint32_t* entries_;
  uint32_t slot_mask_;
  int log2_total_;
};

// An entry of an encode table with what replaces the division by its frequency f: 2^32 / f rounded
// up. state * reciprocal / 2^32 is too large by less than state / 2^32 < 1, so that rounded down it
// is the quotient or one more. For f = 1 it is state - 1, and what is added makes up for it.
struct DividingEntry {
  uint32_t reciprocal;
  // Frequency in bits 0..12; what is added to the state in 13..25; bit 31: escape.
  uint32_t fields;
};

FMTC_HD inline DividingEntry dividing_entry(uint32_t entry, bool escape, int log2_total) {
  // Wrong tables may have others, which then stand for one that is allowed.
  const uint32_t given = encode_frequency(entry);
  const uint32_t frequency = given == 0 || given > kMaxTotal ? 1 : given;
  const uint32_t start = encode_start(entry) % kMaxTotal;
  const uint32_t flag = escape ? 1u << 31 : 0;
  if (frequency == 1) return {~0u, flag | (start + (1u << log2_total) - 1) << 13 | 1};
  return {~0u / frequency + 1, flag | start << 13 | frequency};
}

FMTC_HD inline uint32_t frequency_of(const DividingEntry& entry) { return entry.fields & 0x1FFF; }

// encode_value of core/rans_value.h.
FMTC_HD inline uint32_t encode_value(uint32_t state, const DividingEntry& entry, int log2_total) {
  const uint32_t frequency = frequency_of(entry);
  auto quotient = static_cast<uint32_t>(uint64_t{state} * entry.reciprocal >> 32);
  if (static_cast<int32_t>(state - quotient * frequency) < 0) --quotient;
  return state + (entry.fields >> 13 & 0x1FFF) + quotient * ((1u << log2_total) - frequency);
}

class SharedEncodeTables {
 public:
  FMTC_HD static size_t bytes(const ComponentTables& tables) {
    return tables.entries.size() * sizeof(DividingEntry);
  }

  // By all threads of a thread block.
  //   shared  bytes(tables), aligned to 8
  FMTC_DEVICE SharedEncodeTables(const Thread& thread, const ComponentTables& tables,
                                 int log2_total, uint8_t* shared)
      : entries_(reinterpret_cast<DividingEntry*>(shared)),
        lo_(tables.lo),
        direct_(static_cast<uint32_t>(tables.width) - 1),
        log2_total_(log2_total) {
    const auto count = static_cast<uint32_t>(tables.entries.size());
    for (uint32_t i = thread.rank(); i < count; i += thread.size()) {
      const uint32_t escape = tables.entries[i / (direct_ + 1) * (direct_ + 1) + direct_];
      const uint32_t entry = tables.entries[i];
      const bool escapes = encode_frequency(entry) == 0 || entry == escape;
      entries_[i] = dividing_entry(escapes ? escape : entry, escapes, log2_total);
    }
    thread.sync();
  }

  FMTC_DEVICE int32_t lo() const { return lo_; }
  // What `find` takes for a table.
  FMTC_DEVICE const DividingEntry* place(size_t table) const {
    return entries_ + static_cast<uint32_t>(table) * (direct_ + 1);
  }
  FMTC_DEVICE DividingEntry find(const DividingEntry* table, uint32_t symbol) const {
    return table[symbol < direct_ ? symbol : direct_];
  }
  FMTC_DEVICE static bool escapes(const DividingEntry& entry) { return entry.fields >> 31 != 0; }
  FMTC_DEVICE bool gives_digit(uint32_t state, const DividingEntry& entry) const {
    return state >> (32 - log2_total_) >= frequency_of(entry);
  }
  FMTC_DEVICE uint32_t encode(uint32_t state, const DividingEntry& entry) const {
    return encode_value(state, entry, log2_total_);
  }

 private:
  DividingEntry* entries_;
  int32_t lo_;
  uint32_t direct_;
  int log2_total_;
};

class GlobalEncodeTables {
 public:
  FMTC_HD static size_t bytes(const ComponentTables&) { return 0; }

  struct Entry {
    uint32_t entry;
    bool escape;
  };
  struct Place {
    const uint32_t* table;
    uint32_t escape;
  };

  FMTC_DEVICE GlobalEncodeTables(const Thread&, const ComponentTables& tables, int log2_total,
                                 uint8_t*)
      : entries_(tables.entries.data()),
        lo_(tables.lo),
        direct_(static_cast<uint32_t>(tables.width) - 1),
        log2_total_(log2_total) {}

  FMTC_DEVICE int32_t lo() const { return lo_; }
  FMTC_DEVICE Place place(size_t table) const {
    const uint32_t* const first = entries_ + table * (size_t{direct_} + 1);
    const uint32_t escape = first[direct_];
    // Nothing is divided by 0 where a wrong table's escape has no slots.
    return {first, encode_frequency(escape) == 0 ? escape | 1u << 16 : escape};
  }
  FMTC_DEVICE Entry find(const Place& place, uint32_t symbol) const {
    const uint32_t entry = symbol < direct_ ? place.table[symbol] : place.escape;
    const bool escapes = encode_frequency(entry) == 0 || entry == place.escape;
    return {escapes ? place.escape : entry, escapes};
  }
  FMTC_DEVICE static bool escapes(const Entry& entry) { return entry.escape; }
  FMTC_DEVICE bool gives_digit(uint32_t state, const Entry& entry) const {
    return fmtc::gives_digit(state, entry.entry, log2_total_);
  }
  FMTC_DEVICE uint32_t encode(uint32_t state, const Entry& entry) const {
    return fmtc::encode_value(state, entry.entry, log2_total_);
  }

 private:
  const uint32_t* entries_;
  int32_t lo_;
  uint32_t direct_;
  int log2_total_;
};

}  // namespace fmtc::cuda
