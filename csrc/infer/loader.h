#pragma once

#include <ATen/core/Tensor.h>

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "infer/dataset.h"
#include "infer/preprocess.h"

namespace fmtc::infer {

// Images that a network runs together.
struct Batch {
  at::Tensor images;  // float32 [n, C, H, W]; undefined where none could be decoded
  at::Tensor labels;  // int64 [n]; undefined where the data set has none
  size_t first = 0;   // number of its first image, of all that are loaded
  size_t asked = 0;   // images of it, with those that could not be decoded
  struct Skipped {
    std::string name, why;
  };
  std::vector<Skipped> skipped;
};

// Decodes and preprocesses images in threads of its own, ahead of whoever takes them, but not by
// more than some batches. Batches come in their order, whatever the threads do.
class Loader {
 public:
  // batches: indices of images of the data set. shape: [C, H, W] of a network's input. threads: of
  // decoding; each computes alone, and torch's own number of threads is as it was afterwards.
  Loader(const Dataset& dataset, const Preprocess& preprocess,
         std::vector<std::vector<size_t>> batches, std::vector<int64_t> shape, int threads);
  ~Loader();
  Loader(const Loader&) = delete;
  Loader& operator=(const Loader&) = delete;

  // The next batch; nothing after the last. Error for an image that the preprocessing does not fit.
  std::optional<Batch> next();
  // Seconds for which `next` has waited.
  double waited() const { return waited_; }

 private:
  // A batch in work.
  struct Work {
    std::vector<size_t> indices;
    at::Tensor images;
    std::vector<std::optional<std::string>> failures;  // why an image could not be decoded
    std::exception_ptr error;
    size_t broken = SIZE_MAX;    // which image it is about
    size_t taken = 0, done = 0;  // images
  };

  void run();
  // The next image to decode, of which batch and which of it; null at the end.
  std::pair<std::shared_ptr<Work>, size_t> take();
  void load(Work& work, size_t slot);
  Batch finished(Work& work);

  const Dataset& dataset_;
  const Preprocess& preprocess_;
  std::vector<int64_t> shape_;
  std::vector<std::vector<size_t>> batches_;
  size_t started_ = 0, given_ = 0, images_ = 0;
  double waited_ = 0;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::shared_ptr<Work>> ahead_;
  bool stopped_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace fmtc::infer
