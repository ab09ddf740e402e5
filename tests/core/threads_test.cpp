// Chunks of one stream on several threads, as the operators code them. Alone in a build with the
// thread sanitizer; each test is a process of its own, so that first uses are first.

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

#include "core/rans.h"
#include "stream_fixture.h"

namespace fmtc {
namespace {

constexpr int kThreads = 4;

// Runs work(thread) on all threads, which begin at the same time.
void at_the_same_time(const std::function<void(int)>& work) {
  std::atomic<int> waiting = kThreads;
  std::vector<std::thread> threads;
  for (int thread = 0; thread < kThreads; ++thread) {
    threads.emplace_back([&, thread] {
      --waiting;
      while (waiting > 0) std::this_thread::yield();
      work(thread);
    });
  }
  for (std::thread& thread : threads) thread.join();
}

// Each thread takes every kThreads-th chunk, half of them from the last to the first.
void for_each_chunk(uint64_t chunks, const std::function<void(uint64_t)>& work) {
  at_the_same_time([&](int thread) {
    for (uint64_t i = 0; i < chunks; ++i) {
      const uint64_t chunk = thread % 2 == 0 ? i : chunks - 1 - i;
      if (chunk % kThreads == static_cast<uint64_t>(thread)) work(chunk);
    }
  });
}

// The stream of the calling thread, made by several.
void expect_the_same_stream(const Case& made) {
  const uint64_t chunks = made.header.chunks();
  std::vector<std::vector<uint8_t>> buffers(chunks);
  std::vector<ChunkPayload> payloads(chunks);
  for_each_chunk(chunks, [&](uint64_t chunk) {
    buffers[chunk].resize(chunk_bound(made.header, chunk));
    EXPECT_EQ(encode_chunk(made.header, made.levels, made.encode_tables(), chunk, buffers[chunk],
                           payloads[chunk]),
              Status::kOk);
  });
  std::vector<uint8_t> buffer(stream_bound(made.header), 0xEE);
  size_t used = 0;
  ASSERT_EQ(finish_stream(made.header, payloads, buffer, used), Status::kOk);
  EXPECT_TRUE(std::all_of(buffer.begin() + static_cast<std::ptrdiff_t>(used), buffer.end(),
                          [](uint8_t byte) { return byte == 0xEE; }));
  buffer.resize(used);
  EXPECT_EQ(buffer, made.stream);
  payloads.pop_back();
  EXPECT_EQ(finish_stream(made.header, payloads, buffer, used), Status::kBadArgument);
}

void expect_the_same_levels(const Case& made) {
  StreamHeader header;
  size_t size = 0;
  ASSERT_EQ(read_header(made.stream, header, size), Status::kOk);
  std::vector<int16_t> decoded(made.levels.size());
  for_each_chunk(header.chunks(), [&](uint64_t chunk) {
    EXPECT_EQ(decode_chunk(header, made.stream, made.decode_tables(), chunk, decoded), Status::kOk);
  });
  EXPECT_EQ(decoded, made.levels);
}

class Threads : public testing::TestWithParam<Coder> {
 protected:
  static Case case_of(uint8_t classes) {
    StreamHeader header = header_of(GetParam(), 10, 40, 41, 8, 3);
    header.classes = classes;
    return classes > 1 ? make_case_with_classes(header, 0, 3, 50, 8) : make_case(header, 3, 50, 8);
  }
};

TEST_P(Threads, ChunksMayBeCodedInAnyOrderAtTheSameTime) {
  for (const uint8_t classes : {1, 5}) {
    if (classes > 1 && GetParam() != Coder::kHuffman && GetParam() != Coder::kRans) continue;
    const Case made = case_of(classes);
    EXPECT_GT(made.header.chunks(), 4u * kThreads);
    expect_the_same_stream(made);
    expect_the_same_levels(made);
  }
}

// Of different streams, all with the same tables.
TEST_P(Threads, StreamsMayBeDecodedAtTheSameTime) {
  const Case made = case_of(1);
  std::vector<uint8_t> damaged = made.stream;
  damaged.back() ^= 1;
  at_the_same_time([&](int thread) {
    std::vector<int16_t> decoded;
    const bool good = thread % 2 == 0;
    EXPECT_EQ(made.decode(good ? made.stream : damaged, decoded),
              good ? Status::kOk : Status::kBadChunkChecksum);
  });
}

// What is looked up once: the CPU, the test of the vector code, the way to compute checksums.
TEST_P(Threads, TheFirstUseMayBeOnAllThreads) {
  std::vector<Case> made(kThreads);
  at_the_same_time([&](int thread) { made[static_cast<size_t>(thread)] = case_of(1); });
  for (const Case& other : made) EXPECT_EQ(other.stream, made[0].stream);
}

INSTANTIATE_TEST_SUITE_P(Coders, Threads, testing::ValuesIn(kCoders));

TEST(FirstUse, OfTheCpusInstructionSets) {
  std::vector<Simd> found(kThreads);
  at_the_same_time([&](int thread) { found[static_cast<size_t>(thread)] = rans_simd(); });
  for (const Simd simd : found) EXPECT_EQ(simd, rans_simd());
}

}  // namespace
}  // namespace fmtc
