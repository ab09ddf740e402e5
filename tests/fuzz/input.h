#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <span>
#include <vector>

#include "core/huffman.h"
#include "core/rans.h"
#include "core/stream.h"
#include "core/words.h"

// What the targets share. Each is one source with LLVMFuzzerTestOneInput; run.py runs them.

namespace fmtc {

#define FMTC_REQUIRE(condition)                                                    \
  do {                                                                             \
    if (!(condition)) {                                                            \
      std::fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                \
    }                                                                              \
  } while (false)

// Takes numbers from the front of the fuzzer's bytes; zeros when there are no more.
class Input {
 public:
  Input(const uint8_t* data, size_t size) : bytes_(data, size) {}

  uint8_t byte() {
    if (bytes_.empty()) return 0;
    const uint8_t next = bytes_.front();
    bytes_ = bytes_.subspan(1);
    return next;
  }
  // A number from 0 to `most`, which is below 256.
  int up_to(int most) { return byte() % (most + 1); }
  uint16_t u16() {
    const uint8_t low = byte();
    return static_cast<uint16_t>(low | byte() << 8);
  }
  // All that is left; it ends where the fuzzer's buffer does, so that reads beyond it are seen.
  std::span<const uint8_t> rest() const { return bytes_; }

 private:
  std::span<const uint8_t> bytes_;
};

// What encoder and decoder share, made of the first bytes of an input (see run.py, which writes
// them for the golden streams): coder - 1; log2 of the sum of frequencies minus 8, or bits of a
// word minus 1, or length limit minus 5; lo (i16); tables - 1; symbols - 1; a count for each
// symbol.
struct FuzzCodec {
  Coder coder;
  int bits;
  int32_t lo;
  size_t tables, symbols;
  size_t encode_width = 0, decode_width = 0;
  std::vector<uint32_t> encode, decode;
  std::vector<int64_t> counts, base, table_of;

  FuzzCodec(Coder coder, Input& input)
      : coder(coder),
        bits(input.byte()),
        lo(static_cast<int16_t>(input.u16())),
        tables(1 + static_cast<size_t>(input.up_to(3))),
        symbols(1 + static_cast<size_t>(input.up_to(31))) {
    if (coder == Coder::kEbpc || coder == Coder::kDctCm) {
      bits = 1 + bits % kMaxWordBits;
      lo = std::min(lo, 32768 - (1 << bits));
      encode_width = decode_width = static_cast<size_t>(bits);
      return;
    }
    counts.resize(tables * symbols);
    for (int64_t& count : counts) count = input.byte();
    base.resize(tables);
    if (coder == Coder::kRans) {
      make_rans(8 + bits % 5);
    } else {
      make_huffman(5 + bits % 11);
    }
  }

  bool has_tables() const { return !counts.empty(); }

  // Segment s has table s modulo their number.
  void set_segments(uint64_t segments) {
    table_of.resize(static_cast<size_t>(segments));
    for (size_t s = 0; s < table_of.size(); ++s) table_of[s] = static_cast<int64_t>(s % tables);
  }
  ComponentTables encode_tables(uint64_t plane) const {
    return {lo, encode_width, encode, table_of, plane};
  }
  ComponentTables decode_tables(uint64_t plane) const {
    return {lo, decode_width, decode, table_of, plane, base};
  }

  // Levels that can be coded, made of any bytes: of a value's table, and sometimes with rANS
  // others.
  int16_t level(size_t table, uint8_t byte) const {
    if (coder == Coder::kRans && byte >= 240) return static_cast<int16_t>(byte * 263 - 40000);
    if (coder == Coder::kRans) return static_cast<int16_t>(lo + byte % static_cast<int>(symbols));
    if (coder == Coder::kHuffman) {
      size_t symbol = byte % symbols;
      while (encode[table * symbols + symbol] == 0) symbol = (symbol + 1) % symbols;
      return static_cast<int16_t>(lo + static_cast<int>(symbol));
    }
    const int word = byte * 129 & ((1 << bits) - 1);
    const bool zero_has_a_word = lo <= 0 && -lo < 1 << bits;
    return static_cast<int16_t>(byte % 3 == 0 && zero_has_a_word ? 0 : lo + word);
  }

 private:
  void make_huffman(int limit) {
    lo = std::min(lo, 32768 - static_cast<int32_t>(symbols));
    std::vector<uint8_t> lengths(counts.size());
    for (size_t t = 0; t < tables; ++t) {
      const auto of_table = std::span(counts).subspan(t * symbols, symbols);
      if (std::ranges::count(of_table, 0) == std::ssize(of_table)) of_table[0] = 1;
      FMTC_REQUIRE(
          huffman_lengths(of_table, limit, std::span(lengths).subspan(t * symbols, symbols)) ==
          Status::kOk);
    }
    const int longest = *std::max_element(lengths.begin(), lengths.end());
    encode_width = symbols;
    decode_width = size_t{1} << longest;
    encode.resize(counts.size());
    decode.resize(tables * decode_width);
    for (size_t t = 0; t < tables; ++t) {
      const auto of_table = std::span<const uint8_t>(lengths).subspan(t * symbols, symbols);
      FMTC_REQUIRE(huffman_encode_table(
                       of_table, std::span(encode).subspan(t * symbols, symbols)) == Status::kOk);
      FMTC_REQUIRE(huffman_decode_table(
                       of_table, longest,
                       std::span(decode).subspan(t * decode_width, decode_width)) == Status::kOk);
    }
  }

  void make_rans(int log2_total) {
    encode_width = symbols + 1;
    decode_width = size_t{1} << log2_total;
    encode.resize(tables * encode_width);
    decode.resize(tables * decode_width);
    std::vector<int32_t> frequencies(encode_width);
    for (size_t t = 0; t < tables; ++t) {
      const auto of_table = std::span<const int64_t>(counts).subspan(t * symbols, symbols);
      FMTC_REQUIRE(rans_frequencies(of_table, log2_total, frequencies) == Status::kOk);
      FMTC_REQUIRE(rans_encode_table(frequencies,
                                     std::span(encode).subspan(t * encode_width, encode_width)) ==
                   Status::kOk);
      FMTC_REQUIRE(rans_decode_table(frequencies,
                                     std::span(decode).subspan(t * decode_width, decode_width),
                                     base[t]) == Status::kOk);
    }
  }
};

inline Coder take_coder(Input& input) { return static_cast<Coder>(1 + input.up_to(3)); }

// Whether there is only one payload for the same levels. (An escaped level may be one that has a
// symbol, and EBPC has several codes for a plane.)
inline bool one_payload_only(Coder coder) {
  return coder == Coder::kHuffman || coder == Coder::kDctCm;
}

}  // namespace fmtc
