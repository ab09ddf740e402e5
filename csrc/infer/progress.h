#pragma once

#include <chrono>
#include <cstddef>

namespace fmtc::infer {

// A line on standard error that says how far a run is, how fast, and what is left, where that is a
// terminal.
class Progress {
 public:
  // already: what was done before this run.
  explicit Progress(size_t already = 0);
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(size_t done, size_t all);
  void clear();  // before other text is printed

 private:
  bool terminal_;
  size_t already_;
  std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
  bool shown_ = false;
};

}  // namespace fmtc::infer
