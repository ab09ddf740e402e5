// The chunk decoder of the coder FMTC_FUZZ_CODER, behind all checksums: a codec (input.h), log2 of
// the lanes, wrong table entries or right ones, values (u16), values of a component, the payload.

#include <array>

#include "all_kernels.h"
#include "core/dct_cm.h"
#include "core/ebpc.h"
#include "input.h"

namespace fmtc {
namespace {

constexpr Coder kCoder = Coder::FMTC_FUZZ_CODER;
constexpr int kMostLog2Lanes = kCoder == Coder::kHuffman ? 4 : kCoder == Coder::kRans ? 6 : 0;
#ifndef FMTC_FUZZ_MOST_VALUES
#define FMTC_FUZZ_MOST_VALUES 2048
#endif
constexpr size_t kMostValues = FMTC_FUZZ_MOST_VALUES;

using Levels = std::vector<int16_t>;

struct Chunk {
  FuzzCodec codec;
  int lanes;
  uint64_t plane;
  uint64_t first = 0;

  Status decode(std::span<const uint8_t> payload, Levels& levels,
                const RansKernels* kernels = nullptr) const {
    const ComponentTables tables = codec.decode_tables(plane);
    if (kCoder == Coder::kHuffman) {
      return huffman_chunk_decode(payload, first, tables, lanes, levels);
    }
    if (kCoder == Coder::kRans) {
      return rans_chunk_decode(payload, first, tables, lanes, levels, kernels);
    }
    if (kCoder == Coder::kEbpc) return ebpc_chunk_decode(payload, Words(tables), levels);
    return dct_cm_chunk_decode(payload, Words(tables), levels);
  }

  size_t bound(size_t values) const {
    if (kCoder == Coder::kHuffman) return huffman_chunk_bound(values, lanes);
    if (kCoder == Coder::kRans) return rans_chunk_bound(values, lanes);
    return kCoder == Coder::kEbpc ? ebpc_chunk_bound(values) : dct_cm_chunk_bound(values);
  }

  std::vector<uint8_t> encode(const Levels& levels, const RansKernels* kernels = nullptr) const {
    const ComponentTables tables = codec.encode_tables(plane);
    std::vector<uint8_t> out(bound(levels.size()));
    size_t used = 0;
    Status status;
    if (kCoder == Coder::kHuffman) {
      status = huffman_chunk_encode(levels, first, tables, lanes, out, used);
    } else if (kCoder == Coder::kRans) {
      status = rans_chunk_encode(levels, first, tables, lanes, out, used, kernels);
    } else if (kCoder == Coder::kEbpc) {
      status = ebpc_chunk_encode(levels, Words(tables), out, used);
    } else {
      status = dct_cm_chunk_encode(levels, Words(tables), out, used);
    }
    FMTC_REQUIRE(status == Status::kOk);
    out.resize(used);
    return out;
  }
};

size_t smallest(size_t values, int lanes) {
  if (kCoder == Coder::kHuffman) return huffman_smallest_payload(values, lanes);
  if (kCoder == Coder::kRans) return rans_smallest_payload(values, lanes);
  return kCoder == Coder::kEbpc ? ebpc_smallest_payload(values) : dct_cm_smallest_payload(values);
}

// Encoded together, the levels give the same payload as alone.
void compare_together(const Chunk& chunk, const Levels& levels, const std::vector<uint8_t>& alone,
                      const RansKernels* kernels) {
  std::array<std::vector<uint8_t>, 3> outs;
  outs.fill(std::vector<uint8_t>(chunk.bound(levels.size())));
  std::array<UncodedChunk, 3> chunks;
  for (size_t i = 0; i < 3; ++i) {
    chunks[i] = {levels,  chunk.first, chunk.codec.encode_tables(chunk.plane),
                 outs[i], 0,           Status::kTooLarge};
  }
  rans_chunks_encode(chunks, chunk.lanes, kernels);
  for (const UncodedChunk& of : chunks) {
    FMTC_REQUIRE(of.status == Status::kOk);
    FMTC_REQUIRE(std::ranges::equal(of.out.first(of.used), alone));
  }
}

// All vector code that there is must say the same.
void compare_kernels(const Chunk& chunk, std::span<const uint8_t> payload, Status status,
                     const Levels& levels) {
  static const std::vector<const RansKernels*> all = all_kernels();
  for (const RansKernels* kernels : all) {
    Levels other(levels.size());
    FMTC_REQUIRE(chunk.decode(payload, other, kernels) == status);
    // Together with itself and with its first half.
    std::array<Levels, 3> together;
    together.fill(Levels(levels.size()));
    std::array<CodedChunk, 3> chunks;
    for (size_t i = 0; i < 3; ++i) {
      chunks[i] = {payload.first(payload.size() / (1 + i % 2)), chunk.first,
                   chunk.codec.decode_tables(chunk.plane), together[i], Status::kTooLarge};
    }
    rans_chunks_decode(chunks, chunk.lanes, kernels);
    FMTC_REQUIRE(chunks[0].status == status && chunks[2].status == status);
    if (status != Status::kOk) continue;
    FMTC_REQUIRE(other == levels && together[0] == levels && together[2] == levels);
    const std::vector<uint8_t> alone = chunk.encode(levels);
    FMTC_REQUIRE(chunk.encode(levels, kernels) == alone);
    compare_together(chunk, levels, alone, kernels);
  }
}

void decode(Input& input) {
  Chunk chunk{FuzzCodec(kCoder, input), 1 << input.up_to(kMostLog2Lanes), 0};
  const bool wrong_entries = input.up_to(15) == 1;
  Levels levels(input.u16() % (kMostValues + 1));
  chunk.plane = 1 + static_cast<uint64_t>(input.byte());
  chunk.first = input.byte();
  chunk.codec.set_segments((chunk.first + levels.size()) / chunk.plane + 1);
  if (wrong_entries) {
    uint32_t random = 1;
    for (uint32_t& entry : chunk.codec.decode) {
      random = random * 1664525 + 1013904223;
      if (random >> 30 == 0) entry ^= random;
    }
  }
  const std::span<const uint8_t> payload = input.rest();
  if (payload.size() < smallest(levels.size(), chunk.lanes)) return;  // the stream's reader checks
  const Status status = chunk.decode(payload, levels);
  FMTC_REQUIRE(status == Status::kOk || status == Status::kBadCode);
  if (wrong_entries) return;
  if (kCoder == Coder::kRans) compare_kernels(chunk, payload, status, levels);
  if (status != Status::kOk || !chunk.codec.can_encode(levels)) return;
  const std::vector<uint8_t> again = chunk.encode(levels);
  if (one_payload_only(kCoder)) FMTC_REQUIRE(std::ranges::equal(again, payload));
  Levels decoded(levels.size());
  FMTC_REQUIRE(chunk.decode(again, decoded) == Status::kOk && decoded == levels);
}

}  // namespace
}  // namespace fmtc

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fmtc::Input input(data, size);
  fmtc::decode(input);
  return 0;
}
