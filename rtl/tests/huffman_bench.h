#pragma once

// The Huffman modules under a clock, with what gives them chunks and takes their results.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <random>
#include <vector>

#include "bench.h"
#include "core/bytes.h"
#include "core/huffman_value.h"
#include "huffman_table.h"
#include "runs.h"

namespace fmtc::rtl {

template <typename Model>
class Decoder {
 public:
  Decoder(double share, uint32_t seed)
      : runs(bench_->run_valid, bench_->run_ready,
             [this](const Run& run) {
               bench_->run_table = static_cast<uint8_t>(run.table);
               bench_->run_count = run.count;
               bench_->run_last = run.last;
             },
             {share, seed}),
        words(bench_->in_valid, bench_->in_ready,
              [this](const Word& word) {
                bench_->in_data = word.data;
                bench_->in_begin = word.begin;
                bench_->in_end = word.end;
                bench_->in_last = word.last;
              },
              {share, seed + 1}),
        levels(bench_->out_valid, bench_->out_ready,
               [this] { return static_cast<int16_t>(bench_->out_level); }, {share, seed + 2}),
        done(bench_->done_valid, bench_->done_ready, [this] { return bench_->done_bad != 0; },
             {share, seed + 3}) {
    for (Port* port : std::initializer_list<Port*>{&runs, &words, &levels, &done}) {
      bench_.attach(*port);
    }
    bench_->table_write = 0;
    bench_.reset();
  }

  void load(const Codebook& book) {
    write_huffman_tables(book, [this](int kind, size_t table, uint32_t index, uint32_t data) {
      write(kind, table, index, data);
    });
    bench_->table_write = 0;
  }

  // Gives the sub-streams of a chunk to the module; false where its sizes do not fit.
  bool push(std::span<const uint8_t> payload, uint64_t first, const ComponentTables& tables,
            int substreams, size_t values, std::mt19937& random) {
    std::array<std::span<const uint8_t>, kMaxSubstreams> parts;
    if (!split_payload(payload, substreams, parts)) return false;
    for (int i = 0; i < substreams; ++i) {
      const Substream part(values, substreams, i);
      const auto bytes = parts[static_cast<size_t>(i)];
      for (const Word& word : to_words(bytes, static_cast<int>(random() % 4), &random)) {
        words.push(word);
      }
      for (const Run& run : runs_of(tables, first + part.first, part.size, &random)) runs.push(run);
      ++substreams_;
      values_ += part.size;
    }
    return true;
  }

  // Runs until all sub-streams are done; the cycles that took.
  uint64_t finish() {
    const uint64_t begin = bench_.cycles();
    const uint64_t most = 100 * (values_ + words.size()) + 1000000;
    EXPECT_TRUE(bench_.run(
        [&] { return done.items.size() >= substreams_ && levels.items.size() >= values_; }, most,
        20))
        << done.items.size() << " of " << substreams_ << " sub-streams, " << levels.items.size()
        << " of " << values_ << " levels";
    EXPECT_EQ(levels.items.size(), values_);
    EXPECT_TRUE(words.empty() && runs.empty());
    return bench_.cycles() - begin;
  }

  void clear() {
    levels.items.clear();
    done.items.clear();
    substreams_ = values_ = 0;
  }
  uint64_t cycles() const { return bench_.cycles(); }
  bool run_until(size_t values) {
    return bench_.run([&] { return levels.items.size() >= values && !done.items.empty(); },
                      100 * values);
  }
  bool any_bad() const { return std::count(done.items.begin(), done.items.end(), true) > 0; }

 private:
  void write(int kind, size_t table, uint32_t index, uint32_t data) {
    bench_->table_write = 1;
    bench_->table_kind = static_cast<uint8_t>(kind);
    bench_->table_number = static_cast<uint8_t>(table);
    bench_->table_index = index;
    bench_->table_data = static_cast<uint16_t>(data);
    bench_.edge();
  }

  Bench<Model> bench_;
  size_t substreams_ = 0, values_ = 0;

 public:
  Source<Run> runs;
  Source<Word> words;
  Sink<int16_t> levels;
  Sink<bool> done;
};

struct Done {
  uint32_t bytes = 0;
  bool bad = false;
  bool operator==(const Done&) const = default;
};

template <typename Model>
class Encoder {
 public:
  Encoder(double share, uint32_t seed)
      : runs(bench_->run_valid, bench_->run_ready,
             [this](const Run& run) {
               bench_->run_table = static_cast<uint8_t>(run.table);
               bench_->run_count = run.count;
               bench_->run_last = run.last;
               bench_->run_join = run.join;
             },
             {share, seed}),
        levels(bench_->in_valid, bench_->in_ready,
               [this](int16_t level) { bench_->in_level = static_cast<uint16_t>(level); },
               {share, seed + 1}),
        words(bench_->out_valid, bench_->out_ready,
              [this] {
                return Word{bench_->out_data, bench_->out_begin, bench_->out_end,
                            bench_->out_last != 0};
              },
              {share, seed + 2}),
        done(bench_->done_valid, bench_->done_ready,
             [this] {
               return Done{bench_->done_bytes, bench_->done_bad != 0};
             },
             {share, seed + 3}) {
    for (Port* port : std::initializer_list<Port*>{&runs, &levels, &words, &done}) {
      bench_.attach(*port);
    }
    bench_->table_write = 0;
    bench_.reset();
  }

  void load(const Codebook& book, size_t symbols_of_module) {
    bench_->lo = static_cast<uint16_t>(book.lo);
    bench_->table_write = 1;
    for (size_t t = 0; t * book.symbols < book.encode.size(); ++t) {
      for (size_t s = 0; s < symbols_of_module; ++s) {
        const uint32_t entry = s < book.symbols ? book.encode[t * book.symbols + s] : 0;
        bench_->table_number = static_cast<uint8_t>(t);
        bench_->table_symbol = static_cast<uint16_t>(s);
        bench_->table_entry = encode_length(entry) << kLongest | (entry & 0x7FFF);
        bench_.edge();
      }
    }
    bench_->table_write = 0;
  }

  void push(std::span<const int16_t> chunk, uint64_t first, const ComponentTables& tables,
            int substreams, std::mt19937& random) {
    for (int i = 0; i < substreams; ++i) {
      const Substream part(chunk.size(), substreams, i);
      for (const int16_t level : chunk.subspan(part.first, part.size)) levels.push(level);
      for (Run run : runs_of(tables, first + part.first, part.size, &random)) {
        run.join = i > 0;
        runs.push(run);
      }
      ++substreams_;
    }
  }

  // Runs until all sub-streams are done; the cycles that took.
  uint64_t finish() {
    const uint64_t begin = bench_.cycles();
    EXPECT_TRUE(bench_.run([&] { return done.items.size() >= substreams_; },
                           100 * levels.size() + 1000000, 20));
    EXPECT_TRUE(levels.empty() && runs.empty());
    return bench_.cycles() - begin;
  }

  // The payload of a chunk: the sizes, and the words where they say that they are.
  std::vector<uint8_t> payload(int substreams) const {
    std::vector<uint8_t> bytes(kSubstreamSizeBytes * static_cast<size_t>(substreams - 1));
    for (size_t i = 0; i + 1 < static_cast<size_t>(substreams); ++i) {
      store_le<uint32_t>(bytes.data() + kSubstreamSizeBytes * i, done.items[i].bytes);
    }
    const size_t sizes = bytes.size();
    for (const Word& word : words.items) {
      EXPECT_EQ((bytes.size() - sizes) % 4, word.begin);
      for (int i = word.begin; i < word.end; ++i) {
        bytes.push_back(static_cast<uint8_t>(word.data >> 8 * i));
      }
    }
    return bytes;
  }

  void clear() {
    words.items.clear();
    done.items.clear();
    substreams_ = 0;
  }
  bool any_bad() const {
    return std::any_of(done.items.begin(), done.items.end(), [](const Done& d) { return d.bad; });
  }

 private:
  Bench<Model> bench_;
  size_t substreams_ = 0;

 public:
  Source<Run> runs;
  Source<int16_t> levels;
  Sink<Word> words;
  Sink<Done> done;
};

}  // namespace fmtc::rtl
