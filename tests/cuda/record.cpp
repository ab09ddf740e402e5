// What cuda/record.h records, for a caller by ctypes.
#include "cuda/record.h"

#include <string>

namespace executor = fmtc::cuda::executor;

#define FMTC_EXPORT extern "C" __attribute__((visibility("default")))

FMTC_EXPORT void fmtc_start_recording() { executor::recorded.emplace(); }

// What was recorded since; valid until the next call in this thread.
FMTC_EXPORT const char* fmtc_end_recording() {
  static thread_local std::string lines;
  lines = executor::recorded.value_or("");
  executor::recorded.reset();
  return lines.c_str();
}
