#pragma once

// What the testbenches share: a clock, and valid/ready channels whose two ends pause at random.
#include <gtest/gtest.h>
#include <verilated.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <vector>

namespace fmtc::rtl {

// A number from the environment: how much a long run does.
inline uint64_t setting(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// What each random test works through, and of that at most in one case: in a long run the values
// should take longer than the tables before them.
inline uint64_t work() { return setting("FMTC_RTL_VALUES", 60000); }
inline size_t most_values() {
  return static_cast<size_t>(std::clamp<uint64_t>(work() / 200, 2000, 30000));
}

// Pauses at random: with probability `share` a cycle is one.
class Pauses {
 public:
  Pauses(double share, uint32_t seed) : share_(share), random_(seed) {}
  bool operator()() {
    return share_ > 0 && std::uniform_real_distribution<>(0, 1)(random_) < share_;
  }

 private:
  double share_;
  std::minstd_rand random_;
};

// One end of a channel, as the clock sees it.
class Port {
 public:
  virtual ~Port() = default;
  virtual void drive() = 0;   // sets the module's inputs, before the clock's edge
  virtual void sample() = 0;  // looks at what the edge takes over
};

// Gives items to a module. Once offered, an item stays until it is taken.
template <typename Item>
class Source : public Port {
 public:
  //   put(item)  sets the channel's inputs;  valid, ready: the module's
  Source(uint8_t& valid, const uint8_t& ready, std::function<void(const Item&)> put, Pauses pauses)
      : valid_(valid), ready_(ready), put_(std::move(put)), pauses_(pauses) {}

  void push(const Item& item) { items_.push_back(item); }
  bool empty() const { return items_.empty(); }
  size_t size() const { return items_.size(); }
  void clear() {
    items_.clear();
    offered_ = false;
  }

  void drive() override {
    offered_ = offered_ || (!items_.empty() && !pauses_());
    valid_ = offered_;
    if (offered_) put_(items_.front());
  }
  void sample() override {
    if (!offered_ || !ready_) return;
    items_.pop_front();
    offered_ = false;
  }

 private:
  uint8_t& valid_;
  const uint8_t& ready_;
  std::function<void(const Item&)> put_;
  Pauses pauses_;
  std::deque<Item> items_;
  bool offered_ = false;
};

// Takes items from a module, and sees that an item which is not taken stays as it is.
template <typename Item>
class Sink : public Port {
 public:
  //   get()  the item on the channel's outputs
  Sink(const uint8_t& valid, uint8_t& ready, std::function<Item()> get, Pauses pauses)
      : valid_(valid), ready_(ready), get_(std::move(get)), pauses_(pauses) {}

  std::vector<Item> items;

  void drive() override { ready_ = !pauses_(); }
  void sample() override {
    if (waiting_) {
      EXPECT_TRUE(valid_) << "an item was withdrawn";
      EXPECT_TRUE(get_() == waited_for_) << "an item changed before it was taken";
    }
    waiting_ = valid_ && !ready_;
    if (waiting_) waited_for_ = get_();
    if (valid_ && ready_) items.push_back(get_());
  }

 private:
  const uint8_t& valid_;
  uint8_t& ready_;
  std::function<Item()> get_;
  Pauses pauses_;
  bool waiting_ = false;
  Item waited_for_{};
};

// A module under a clock.
template <typename Model>
class Bench {
 public:
  Bench() : model_(std::make_unique<Model>(&context_)) {}
  ~Bench() { model_->final(); }

  Model& operator*() { return *model_; }
  Model* operator->() { return model_.get(); }
  uint64_t cycles() const { return cycles_; }

  void attach(Port& port) { ports_.push_back(&port); }

  void reset() {
    model_->rst = 1;
    for (int i = 0; i < 3; ++i) edge();
    model_->rst = 0;
  }

  // A cycle without the channels, as for writing tables.
  void edge() {
    model_->clk = 0;
    model_->eval();
    model_->clk = 1;
    model_->eval();
    ++cycles_;
  }

  void cycle() {
    for (Port* port : ports_) port->drive();
    model_->clk = 0;
    model_->eval();
    for (Port* port : ports_) port->sample();
    model_->clk = 1;
    model_->eval();
    ++cycles_;
  }

  // Cycles until `done` is true, then `after` more; false where that takes more than `most`.
  template <typename Done>
  bool run(Done done, uint64_t most, int after = 0) {
    const uint64_t end = cycles_ + most;
    while (!done()) {
      if (cycles_ >= end) return false;
      cycle();
    }
    for (int i = 0; i < after; ++i) cycle();
    return true;
  }

 private:
  VerilatedContext context_;
  std::unique_ptr<Model> model_;
  std::vector<Port*> ports_;
  uint64_t cycles_ = 0;
};

// A word of a string (rtl/src/fmtc_packer.sv).
struct Word {
  uint32_t data = 0;
  uint8_t begin = 0, end = 4;
  bool last = false;
  bool operator==(const Word&) const = default;
};

// Bytes as words that begin at a byte of the first.
inline std::vector<Word> to_words(std::span<const uint8_t> bytes, int begin, std::mt19937* noise) {
  std::vector<Word> words;
  size_t next = 0;
  auto first = static_cast<uint8_t>(begin);
  do {
    Word word;
    // What is not the string's may be anything.
    word.data = noise == nullptr ? 0 : static_cast<uint32_t>((*noise)());
    word.begin = first;
    word.end = first;
    for (; word.end < 4 && next < bytes.size(); ++word.end, ++next) {
      word.data &= ~(0xFFu << 8 * word.end);
      word.data |= uint32_t{bytes[next]} << 8 * word.end;
    }
    word.last = next == bytes.size();
    words.push_back(word);
    first = 0;
  } while (next < bytes.size());
  return words;
}

// The inverse, of the words of one string.
inline std::vector<uint8_t> to_bytes(std::span<const Word> words) {
  std::vector<uint8_t> bytes;
  for (const Word& word : words) {
    for (int i = word.begin; i < word.end; ++i) {
      bytes.push_back(static_cast<uint8_t>(word.data >> 8 * i));
    }
  }
  return bytes;
}

// The share of cycles in which channels pause: of a run of its own each.
inline constexpr double kShares[] = {0, 0.1, 0.5, 0.9};

}  // namespace fmtc::rtl
