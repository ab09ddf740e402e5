#pragma once

// Runs kernels on the CPU, for tests where there is no GPU: each thread of a block is a fiber,
// which runs until it has to wait for others. Blocks run one after the other, so this finds wrong
// indices, a wrong order of lanes and missing threads at a barrier, but no races between blocks.
#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <vector>

namespace fmtc::cuda::executor {

inline constexpr uint32_t kLanes = 32;
inline constexpr size_t kStackBytes = size_t{1} << 17;

// Where fibers wait for each other. A value that each one left is read by all after the wait;
// the values of two waits that follow each other lie in different places.
struct Meeting {
  uint32_t members = 0;
  uint32_t arrived = 0;
  uint64_t generation = 0;
  std::vector<uint64_t> values[2];

  void reset(uint32_t count) {
    members = count;
    arrived = 0;
    generation = 0;
    for (auto& each : values) each.assign(count, 0);
  }
};

// The block that runs.
class Block {
 public:
  Block(uint32_t threads, size_t shared_bytes)
      : fibers_(threads),
        stacks_(std::make_unique_for_overwrite<char[]>(threads * kStackBytes)),
        shared_(shared_bytes / 16 + 1) {}

  // Runs body(thread) in each thread of block `index` of a grid of `blocks`.
  void run(uint32_t index, uint32_t blocks, const std::function<void(uint32_t)>& body) {
    index_ = index;
    blocks_ = blocks;
    body_ = &body;
    block_.reset(threads());
    warps_.resize((threads() + kLanes - 1) / kLanes);
    for (uint32_t w = 0; w < warps_.size(); ++w) {
      warps_[w].reset(std::min(kLanes, threads() - w * kLanes));
    }
    current_ = this;
    left_ = threads();
    for (uint32_t t = 0; t < threads(); ++t) start(t);
    thread_ = 0;
    swapcontext(&caller_, &fibers_[0].context);
    current_ = nullptr;
  }

  static Block& current() { return *current_; }
  uint32_t index() const { return index_; }
  uint32_t blocks() const { return blocks_; }
  uint32_t threads() const { return static_cast<uint32_t>(fibers_.size()); }
  uint32_t thread() const { return thread_; }
  void* shared() { return shared_.data(); }
  Meeting& all() { return block_; }
  Meeting& warp() { return warps_[thread_ / kLanes]; }

  // Leaves a value and waits until all members did; returns the values of all.
  const std::vector<uint64_t>& meet(Meeting& meeting, uint32_t member, uint64_t value) {
    const uint64_t generation = meeting.generation;
    std::vector<uint64_t>& values = meeting.values[generation & 1];
    values[member] = value;
    if (++meeting.arrived == meeting.members) {
      meeting.arrived = 0;
      ++meeting.generation;
      waits_ = 0;
    } else {
      while (meeting.generation == generation) next();
    }
    return values;
  }

 private:
  struct Fiber {
    ucontext_t context;
    bool done = false;
  };

  void start(uint32_t t) {
    Fiber& fiber = fibers_[t];
    fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stacks_.get() + t * kStackBytes;
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, &Block::enter, 0);
  }

  static void enter() {
    Block& block = current();
    (*block.body_)(block.thread_);
    block.fibers_[block.thread_].done = true;
    block.waits_ = 0;
    if (--block.left_ == 0) {
      setcontext(&block.caller_);
    }
    block.next();
  }

  // Goes on with the next thread that has not ended.
  void next() {
    if (++waits_ > 4 * uint64_t{threads()}) {
      std::fputs("fmtc: threads of a block wait for one that has ended or waits elsewhere\n",
                 stderr);
      std::abort();
    }
    const uint32_t from = thread_;
    do thread_ = (thread_ + 1) % threads();
    while (fibers_[thread_].done);
    if (thread_ != from) swapcontext(&fibers_[from].context, &fibers_[thread_].context);
  }

  static inline thread_local Block* current_ = nullptr;

  std::vector<Fiber> fibers_;
  std::unique_ptr<char[]> stacks_;
  std::vector<__uint128_t> shared_;
  const std::function<void(uint32_t)>* body_ = nullptr;
  Meeting block_;
  std::vector<Meeting> warps_;
  ucontext_t caller_;
  uint32_t index_ = 0, blocks_ = 0, thread_ = 0, left_ = 0;
  uint64_t waits_ = 0;
};

}  // namespace fmtc::cuda::executor
