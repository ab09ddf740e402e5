#include "infer/progress.h"

#include <unistd.h>

#include <cstdio>

namespace fmtc::infer {

Progress::Progress(size_t already) : terminal_(isatty(STDERR_FILENO) != 0), already_(already) {}

void Progress::show(size_t done, size_t all) {
  if (!terminal_ || done <= already_) return;
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
  const auto made = static_cast<double>(done - already_);
  const auto left = static_cast<long long>(seconds / made * static_cast<double>(all - done));
  std::fprintf(stderr, "\r\033[K%zu/%zu images, %.1f a second, %lld:%02lld:%02lld left", done, all,
               made / seconds, left / 3600, left / 60 % 60, left % 60);
  shown_ = true;
}

void Progress::clear() {
  if (shown_) std::fprintf(stderr, "\r\033[K");
  shown_ = false;
}

}  // namespace fmtc::infer
