#pragma once

#include <cstddef>

namespace fmtc::infer {

// A line on standard error that says how far a run is, where that is a terminal.
class Progress {
 public:
  Progress();
  ~Progress() { clear(); }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void show(size_t done, size_t all);
  void clear();  // before other text is printed

 private:
  bool terminal_;
  bool shown_ = false;
};

}  // namespace fmtc::infer
