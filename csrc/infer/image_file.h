#pragma once

// What the decoders of image files share. Both libraries report errors by a call that must not
// return, and are written in C: control goes back by longjmp, over functions of theirs and none of
// ours that has anything to destroy. What they need is owned by objects outside of these calls.
#include <csetjmp>
#include <cstdio>
#include <memory>
#include <string>

#include "infer/image.h"

namespace fmtc::infer {

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

// Calls f, which must have nothing to destroy; false where it was left by longjmp to `back`.
template <typename F>
bool without_jump(std::jmp_buf& back, const F& f) {
  if (setjmp(back) != 0) return false;
  f();
  return true;
}

inline void check_pixels(int64_t height, int64_t width, int64_t max_pixels) {
  if (height < 1 || width < 1) throw Error("an image without pixels");
  if (height > max_pixels / width) {
    throw Error("an image of " + std::to_string(width) + "x" + std::to_string(height) +
                " pixels is larger than --max-pixels " + std::to_string(max_pixels));
  }
}

// Of an open file, at its beginning.
Image read_image(std::FILE* file, int channels, int64_t max_pixels);
Image read_jpeg(std::FILE* file, int channels, int64_t max_pixels);
Image read_png(std::FILE* file, int channels, int64_t max_pixels);

}  // namespace fmtc::infer
