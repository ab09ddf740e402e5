// Speed of the core's loops on one thread, without torch: make bench-core. A value counts as a
// byte.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "coding_fixture.h"
#include "core/crc32c.h"
#include "core/histogram.h"
#include "core/quantize.h"

namespace fmtc {
namespace {

constexpr size_t kValues = size_t{1} << 17;
constexpr size_t kSymbols = 255;
constexpr int32_t kLo = -127;

// Levels of a Laplacian of this scale and tables of their distribution.
struct Data {
  std::vector<int64_t> counts;
  std::mt19937 random{1};
  Codebook book;
  std::vector<int16_t> levels;
  std::vector<uint8_t> bytes;
  std::vector<int16_t> decoded;
  uint64_t plane;

  Data(double scale, uint64_t plane, bool rans)
      : bytes(rans_chunk_bound(kValues, kMaxStates)), plane(plane) {
    // Two tables, so that planes that are small have rounds with both.
    for (size_t i = 0; i < 2 * kSymbols; ++i) {
      const double level = std::abs(static_cast<double>(i % kSymbols) + kLo);
      counts.push_back(1 + static_cast<int64_t>(1e7 * std::exp(-level / scale)));
    }
    const size_t components = kValues / plane + 1;
    book = rans ? make_rans_codebook(counts, kSymbols, kLo, components, 12, random)
                : make_codebook(counts, kSymbols, kLo, components, 15, random);
    levels = draw_levels(book, counts, plane, random);
    levels.resize(kValues);
    decoded.resize(kValues);
  }
};

void report(benchmark::State& state, size_t used) {
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * static_cast<int64_t>(kValues));
  if (used > 0) state.counters["bits"] = 8.0 * static_cast<double>(used) / kValues;
}

// Arguments: 10 * scale, values of a component, states, instruction set.
void rans(benchmark::State& state, bool encode) {
  Data data(static_cast<double>(state.range(0)) / 10, static_cast<uint64_t>(state.range(1)), true);
  const int states = static_cast<int>(state.range(2));
  const Simd simd = kSimds[static_cast<size_t>(state.range(3))];
  state.SetLabel(name(simd));
  const RansKernels* kernels = rans_kernels(simd);
  size_t used = 0;
  const auto run_encode = [&] {
    return rans_chunk_encode(data.levels, 0, data.book.encode_tables(data.plane), states,
                             data.bytes, used, kernels);
  };
  if (run_encode() != Status::kOk) state.SkipWithError("encoding failed");
  for (auto _ : state) {
    const Status status = encode ? run_encode()
                                 : rans_chunk_decode(std::span(data.bytes).first(used), 0,
                                                     data.book.decode_tables(data.plane), states,
                                                     data.decoded, kernels);
    if (status != Status::kOk) state.SkipWithError("coding failed");
  }
  report(state, used);
}

// Chunks of several streams, coded together; each has classes of positions of its own. Arguments:
// 10 * scale, values of a component, classes, states, streams.
void rans_chunks(benchmark::State& state, bool encode) {
  constexpr size_t kTables = 8;
  const double scale = static_cast<double>(state.range(0)) / 10;
  const auto plane = static_cast<uint64_t>(state.range(1));
  const auto classes = static_cast<size_t>(state.range(2));
  const int states = static_cast<int>(state.range(3));
  const auto streams = static_cast<size_t>(state.range(4));
  const auto components = static_cast<size_t>(states) * 6144 / plane;
  const size_t values = components * plane;
  std::mt19937 random(1);
  std::vector<int64_t> counts;
  for (size_t i = 0; i < kTables * kSymbols; ++i) {
    const double level = std::abs(static_cast<double>(i % kSymbols) + kLo);
    counts.push_back(1 + static_cast<int64_t>(1e7 * std::exp(-level / scale)));
  }
  const Codebook book =
      make_rans_codebook(counts, kSymbols, kLo, 1 + components * classes, 12, random);
  std::vector<std::vector<uint64_t>> parts(streams);
  std::vector<std::vector<uint8_t>> bytes(streams);
  std::vector<std::vector<int16_t>> decoded(streams, std::vector<int16_t>(values));
  std::vector<std::vector<int16_t>> levels(streams);
  std::vector<UncodedChunk> uncoded;
  std::vector<CodedChunk> chunks;
  size_t used_by_all = 0;
  for (size_t n = 0; n < streams; ++n) {
    parts[n].assign(classes, 0);
    for (uint64_t i = 0; i < plane; ++i) ++parts[n][random() % classes];
    std::vector<uint64_t> sizes = {0};
    for (size_t k = 0; k < components; ++k) {
      sizes.insert(sizes.end(), parts[n].begin(), parts[n].end());
    }
    levels[n] = draw_levels(book, counts, sizes, random);
    bytes[n].resize(rans_chunk_bound(values, states));
    ComponentTables encode_tables = book.encode_tables(plane);
    encode_tables.parts = parts[n];
    uncoded.push_back({levels[n], 0, encode_tables, bytes[n]});
    rans_chunks_encode(std::span(&uncoded.back(), 1), states);
    if (uncoded.back().status != Status::kOk) state.SkipWithError("encoding failed");
    const size_t used = uncoded.back().used;
    used_by_all += used;
    ComponentTables tables = book.decode_tables(plane);
    tables.parts = parts[n];
    chunks.push_back({std::span(bytes[n]).first(used), 0, tables, decoded[n]});
  }
  for (auto _ : state) {
    if (encode) {
      rans_chunks_encode(uncoded, states);
      continue;
    }
    rans_chunks_decode(chunks, states);
    for (const CodedChunk& chunk : chunks) {
      if (chunk.status != Status::kOk) state.SkipWithError("decoding failed");
    }
  }
  const size_t all = streams * values;
  state.SetBytesProcessed(static_cast<int64_t>(state.iterations()) * static_cast<int64_t>(all));
  state.counters["bits"] = 8.0 * static_cast<double>(used_by_all) / static_cast<double>(all);
}

void huffman(benchmark::State& state, bool encode) {
  Data data(static_cast<double>(state.range(0)) / 10, kValues, false);
  size_t used = 0;
  const auto run_encode = [&] {
    return huffman_chunk_encode(data.levels, 0, data.book.encode_tables(data.plane), 4, data.bytes,
                                used);
  };
  if (run_encode() != Status::kOk) state.SkipWithError("encoding failed");
  for (auto _ : state) {
    const Status status =
        encode ? run_encode()
               : huffman_chunk_decode(std::span(data.bytes).first(used), 0,
                                      data.book.decode_tables(data.plane), 4, data.decoded);
    if (status != Status::kOk) state.SkipWithError("coding failed");
  }
  report(state, used);
}

void histogram_of_levels(benchmark::State& state) {
  const Data data(static_cast<double>(state.range(0)) / 10, kValues, true);
  std::vector<int64_t> counts(kSymbols);
  for (auto _ : state) histogram(data.levels, kLo, kLo + kSymbols - 1, counts);
  report(state, 0);
}

void quantize_floats(benchmark::State& state) {
  const Data data(2, kValues, true);
  const std::vector<float> y(data.levels.begin(), data.levels.end());
  std::vector<int16_t> levels(kValues);
  int64_t clamped = 0;
  for (auto _ : state) quantize(y, 0.7F, -127, 127, levels, clamped);
  report(state, 0);
}

void checksum(benchmark::State& state) {
  const std::vector<uint8_t> bytes(kValues, 7);
  for (auto _ : state) benchmark::DoNotOptimize(crc32c(bytes));
  report(state, 0);
}

const std::vector<std::vector<int64_t>> kRansArguments = {
    {2, 20, 80},
    {49, int64_t{kValues}},
    {1, 4, 8, 32, 64},
    benchmark::CreateDenseRange(0, std::ranges::find(kSimds, cpu_simd()) - kSimds.begin(), 1)};
const std::vector<std::string> kRansNames = {"scale10", "plane", "states", "simd"};
const std::vector<std::vector<int64_t>> kRansChunksArguments = {
    {3, 20}, {49, 196, 784}, {1, 4}, {1, 2, 4, 8}, {1, 2, 3, 4, 8, 16}};
const std::vector<std::string> kRansChunksNames = {"scale10", "plane", "classes", "states",
                                                   "streams"};

BENCHMARK_CAPTURE(rans, encode, true)->ArgNames(kRansNames)->ArgsProduct(kRansArguments);
BENCHMARK_CAPTURE(rans, decode, false)->ArgNames(kRansNames)->ArgsProduct(kRansArguments);
BENCHMARK_CAPTURE(rans_chunks, encode, true)
    ->ArgNames(kRansChunksNames)
    ->ArgsProduct(kRansChunksArguments);
BENCHMARK_CAPTURE(rans_chunks, decode, false)
    ->ArgNames(kRansChunksNames)
    ->ArgsProduct(kRansChunksArguments);
BENCHMARK_CAPTURE(huffman, encode, true)->ArgName("scale10")->Arg(2)->Arg(20)->Arg(80);
BENCHMARK_CAPTURE(huffman, decode, false)->ArgName("scale10")->Arg(2)->Arg(20)->Arg(80);
BENCHMARK(histogram_of_levels)->ArgName("scale10")->Arg(2)->Arg(80);
BENCHMARK(quantize_floats);
BENCHMARK(checksum);

}  // namespace
}  // namespace fmtc

BENCHMARK_MAIN();
