#pragma once

#include <algorithm>
#include <array>
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

// What encoder and decoder share, made of the first bytes of an input (run.py writes them for the
// golden streams): log2 of the sum of frequencies minus 8, or bits of a word minus 1; lo (i16);
// tables - 1, symbols - 1; of each table the lengths (u8) or frequencies but the escape's (u16).
// Any bytes make a codec: what would be no code is made one.
struct FuzzCodec {
  Coder coder;
  int bits;
  int32_t lo;
  size_t tables, symbols;
  size_t encode_width = 0, decode_width = 0;
  std::vector<uint32_t> encode, decode;
  std::vector<int64_t> base, table_of;

  FuzzCodec(Coder coder, Input& input)
      : coder(coder),
        bits(input.byte()),
        lo(static_cast<int16_t>(input.u16())),
        tables(1 + static_cast<size_t>(input.up_to(2))),
        symbols(1 + static_cast<size_t>(input.up_to(31))) {
    if (coder == Coder::kRans) {
      make_rans(8 + bits % 5, input);
    } else if (coder == Coder::kHuffman) {
      make_huffman(input);
    } else {
      bits = 1 + bits % kMaxWordBits;
      lo = std::min(lo, 32768 - (1 << bits));
      encode_width = decode_width = static_cast<size_t>(bits);
    }
  }

  bool has_tables() const { return !encode.empty(); }

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

  // False for a 0 that has no word: encoders refuse it, decoders have no need to.
  bool can_encode(std::span<const int16_t> levels) const {
    return has_tables() || Words(lo, bits).all_have_words(levels);
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
    const std::array<int16_t, 1> zero = {0};
    return byte % 3 == 0 && can_encode(zero) ? int16_t{0} : static_cast<int16_t>(lo + word);
  }

 private:
  static constexpr int kLongest = 10;  // longer codes make larger tables, and all slower

  // A complete code of as many symbols: leaves of a tree, split where the bytes say.
  static void split_leaves(std::span<uint8_t> lengths) {
    const std::vector<uint8_t> bytes(lengths.begin(), lengths.end());
    std::ranges::fill(lengths, uint8_t{0});
    lengths[0] = lengths.size() == 1;
    for (size_t leaves = 1; leaves < lengths.size(); ++leaves) {
      size_t leaf = bytes[leaves] % leaves;
      while (lengths[leaf] == kLongest) leaf = (leaf + 1) % leaves;
      lengths[leaves] = ++lengths[leaf];
    }
  }

  void make_huffman(Input& input) {
    lo = std::min(lo, 32768 - static_cast<int32_t>(symbols));
    encode_width = symbols;
    encode.resize(tables * symbols);
    std::vector<uint8_t> lengths(encode.size());
    for (uint8_t& length : lengths) length = input.byte();
    for (size_t t = 0; t < tables; ++t) {
      const auto of_table = std::span(lengths).subspan(t * symbols, symbols);
      const auto entries = std::span(encode).subspan(t * symbols, symbols);
      if (std::ranges::max(of_table) <= kLongest &&
          huffman_encode_table(of_table, entries) == Status::kOk) {
        continue;
      }
      split_leaves(of_table);
      FMTC_REQUIRE(huffman_encode_table(of_table, entries) == Status::kOk);
    }
    const int longest = std::ranges::max(lengths);
    decode_width = size_t{1} << longest;
    decode.resize(tables * decode_width);
    for (size_t t = 0; t < tables; ++t) {
      FMTC_REQUIRE(huffman_decode_table(
                       std::span(lengths).subspan(t * symbols, symbols), longest,
                       std::span(decode).subspan(t * decode_width, decode_width)) == Status::kOk);
    }
  }

  void make_rans(int log2_total, Input& input) {
    encode_width = symbols + 1;
    decode_width = size_t{1} << log2_total;
    encode.resize(tables * encode_width);
    decode.resize(tables * decode_width);
    base.resize(tables);
    std::vector<int32_t> frequencies(encode_width);
    for (size_t t = 0; t < tables; ++t) {
      int32_t left = 1 << log2_total;
      for (size_t i = 0; i < symbols; ++i) {
        frequencies[i] = std::min<int32_t>(input.u16(), left - 1);
        left -= frequencies[i];
      }
      frequencies.back() = left;
      const auto entries = std::span(encode).subspan(t * encode_width, encode_width);
      FMTC_REQUIRE(rans_encode_table(frequencies, entries) == Status::kOk);
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
