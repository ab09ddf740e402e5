#include "infer/progress.h"

#include <unistd.h>

#include <cstdio>

namespace fmtc::infer {

Progress::Progress() : terminal_(isatty(STDERR_FILENO) != 0) {}

void Progress::show(size_t done, size_t all) {
  if (!terminal_) return;
  std::fprintf(stderr, "\r%zu/%zu images", done, all);
  shown_ = true;
}

void Progress::clear() {
  if (shown_) std::fprintf(stderr, "\r\033[K");
  shown_ = false;
}

}  // namespace fmtc::infer
