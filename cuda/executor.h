#pragma once

// Runs kernels on the CPU, for tests where there is no GPU: each thread of a thread block is a
// fiber, which runs until it has to wait for others. Thread blocks run one after the other, so this
// finds wrong indices, a wrong order in a warp and missing threads at a barrier, but no races
// between thread blocks.
#include <setjmp.h>
#include <ucontext.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <vector>

namespace fmtc::cuda::executor {

inline constexpr uint32_t kWarpSize = 32;
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

// The thread block that runs.
class ThreadBlock {
 public:
  ThreadBlock(uint32_t threads, size_t shared_bytes)
      : fibers_(threads), stacks_(stacks_for(threads)), shared_(shared_bytes / 16 + 1) {}

  // Runs body(thread) in each thread of thread block `index` of a grid of so many.
  void run(uint32_t index, uint32_t thread_blocks, const std::function<void(uint32_t)>& body) {
    index_ = index;
    thread_blocks_ = thread_blocks;
    body_ = &body;
    all_.reset(threads());
    warps_.resize((threads() + kWarpSize - 1) / kWarpSize);
    for (uint32_t w = 0; w < warps_.size(); ++w) {
      warps_[w].reset(std::min(kWarpSize, threads() - w * kWarpSize));
    }
    current_ = this;
    left_ = threads();
    for (uint32_t t = 0; t < threads(); ++t) make(t);
    thread_ = 0;
    if (_setjmp(caller_) == 0) resume(0);
    current_ = nullptr;
  }

  static ThreadBlock& current() { return *current_; }
  uint32_t index() const { return index_; }
  uint32_t thread_blocks() const { return thread_blocks_; }
  uint32_t threads() const { return static_cast<uint32_t>(fibers_.size()); }
  uint32_t thread() const { return thread_; }
  void* shared() { return shared_.data(); }
  Meeting& all() { return all_; }
  Meeting& warp() { return warps_[thread_ / kWarpSize]; }

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
  // A context starts a fiber; jumps, which need no system call, go on with it.
  struct Fiber {
    ucontext_t context;
    jmp_buf jump;
    bool started = false;
    bool done = false;
  };

  // Kept for all thread blocks: their pages need not be touched again.
  static char* stacks_for(uint32_t threads) {
    static thread_local std::unique_ptr<char[]> stacks;
    static thread_local uint32_t count = 0;
    if (count < threads) {
      stacks.reset(new char[threads * kStackBytes]);
      count = threads;
    }
    return stacks.get();
  }

  void make(uint32_t t) {
    Fiber& fiber = fibers_[t];
    fiber.started = fiber.done = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stacks_ + t * kStackBytes;
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, &ThreadBlock::enter, 0);
  }

  static void enter() {
    ThreadBlock& here = current();
    (*here.body_)(here.thread_);
    here.fibers_[here.thread_].done = true;
    here.waits_ = 0;
    if (--here.left_ == 0) _longjmp(here.caller_, 1);
    here.next();
  }

  // Goes on with the next thread that has not ended.
  void next() {
    if (++waits_ > 4 * uint64_t{threads()}) {
      std::fputs("fmtc: threads of a thread block wait for one that has ended or waits elsewhere\n",
                 stderr);
      std::abort();
    }
    const uint32_t from = thread_;
    do thread_ = (thread_ + 1) % threads();
    while (fibers_[thread_].done);
    if (thread_ != from && _setjmp(fibers_[from].jump) == 0) resume(thread_);
  }

  void resume(uint32_t t) {
    if (fibers_[t].started) _longjmp(fibers_[t].jump, 1);
    fibers_[t].started = true;
    setcontext(&fibers_[t].context);
  }

  static inline thread_local ThreadBlock* current_ = nullptr;

  std::vector<Fiber> fibers_;
  char* stacks_;
  std::vector<__uint128_t> shared_;
  const std::function<void(uint32_t)>* body_ = nullptr;
  Meeting all_;
  std::vector<Meeting> warps_;
  jmp_buf caller_;
  uint32_t index_ = 0, thread_blocks_ = 0, thread_ = 0, left_ = 0;
  uint64_t waits_ = 0;
};

}  // namespace fmtc::cuda::executor
