#pragma once

// Work on torch's threads. Tasks are cut by the shapes alone and their results are put together in
// the order of the tasks, so that nothing depends on the number of threads.
#include <torch/csrc/stable/ops.h>

#include <cstdint>
#include <functional>
#include <limits>
#include <mutex>

#include "core/status.h"

namespace fmtc::ops {

// The least number of values that is worth another thread.
inline constexpr int64_t kGrain = 32768;

// Keeps the failure of the lowest task. A body that runs on torch's threads must not throw, so it
// reports here and the operator throws afterwards.
class Failures {
 public:
  void add(int64_t task, Status status) {
    if (status == Status::kOk) return;
    const std::lock_guard<std::mutex> lock(mutex_);
    if (task < task_) {
      task_ = task;
      status_ = status;
    }
  }

  int64_t task() const { return task_; }
  Status status() const { return status_; }

 private:
  std::mutex mutex_;
  int64_t task_ = std::numeric_limits<int64_t>::max();
  Status status_ = Status::kOk;
};

// Runs body(task) -> Status for each task in [0, tasks).
template <typename Body>
void for_each_task(int64_t tasks, Failures& failures, const Body& body) {
  torch::stable::parallel_for(0, tasks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) failures.add(task, body(task));
  });
}

// A ForEach of the core (core/moments.h) on torch's threads.
inline void for_each_torch(int64_t count, const std::function<void(int64_t, int64_t)>& body) {
  torch::stable::parallel_for(0, count, 1, body);
}

}  // namespace fmtc::ops
