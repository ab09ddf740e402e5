#include "infer/loader.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/InferenceMode.h>

#include <chrono>
#include <latch>

#include "codec/array.h"
#include "infer/image.h"

namespace fmtc::infer {
namespace {

constexpr size_t kMostAhead = 3;  // batches, with the one that is being taken

}  // namespace

Loader::Loader(const Dataset& dataset, const Preprocess& preprocess,
               std::vector<std::vector<size_t>> batches, std::vector<int64_t> shape, int threads)
    : dataset_(dataset),
      preprocess_(preprocess),
      shape_(std::move(shape)),
      batches_(std::move(batches)) {
  // torch keeps a number for each thread, but sets the one for new threads along with it.
  const int before = at::get_num_threads();
  std::latch ready(threads);
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back([this, &ready] {
      at::set_num_threads(1);
      ready.count_down();
      run();
    });
  }
  ready.wait();
  at::set_num_threads(before);
}

Loader::~Loader() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
  }
  changed_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Loader::run() {
  const c10::InferenceMode inference;
  for (auto [work, slot] = take(); work; std::tie(work, slot) = take()) {
    std::exception_ptr error;
    try {
      load(*work, slot);
    } catch (...) {
      error = std::current_exception();
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (error && slot < work->broken) {  // that of the first image, whichever thread comes first
      work->error = error;
      work->broken = slot;
    }
    ++work->done;
    changed_.notify_all();
  }
}

std::pair<std::shared_ptr<Loader::Work>, size_t> Loader::take() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopped_) {
    if (!ahead_.empty() && ahead_.back()->taken < ahead_.back()->indices.size()) {
      return {ahead_.back(), ahead_.back()->taken++};
    }
    if (started_ == batches_.size()) break;
    if (ahead_.size() < kMostAhead) {
      auto work = std::make_shared<Work>();
      work->indices = std::move(batches_[started_++]);
      work->failures.resize(work->indices.size());
      std::vector<int64_t> sizes = shape_;
      sizes.insert(sizes.begin(), static_cast<int64_t>(work->indices.size()));
      try {
        work->images = at::empty(sizes, at::kFloat);
      } catch (const std::exception&) {
        const std::string many = std::to_string(work->indices.size());
        work->error =
            std::make_exception_ptr(Error("no memory for a batch of " + many + " images"));
      }
      ahead_.push_back(std::move(work));
      continue;
    }
    changed_.wait(lock);
  }
  return {nullptr, 0};
}

void Loader::load(Work& work, size_t slot) {
  if (!work.images.defined()) return;  // there is an error already
  const size_t index = work.indices[slot];
  at::Tensor pixels;
  try {
    pixels = dataset_.read(index, preprocess_.decoded_channels(shape_.front()));
  } catch (const std::exception& error) {
    work.failures[slot] = error.what();
    return;
  }
  const std::string where = dataset_.path() + ": " + dataset_.name(index) + ": ";
  at::Tensor input;
  try {
    input = preprocess_(pixels);
  } catch (const std::exception& error) {
    throw Error(where + error.what());
  }
  if (input.sizes() != at::IntArrayRef(shape_)) {
    throw Error(where + "it becomes an input of the shape " + codec::shape_text(input.sizes()) +
                ", the package takes " + codec::shape_text(shape_));
  }
  work.images[static_cast<int64_t>(slot)].copy_(input);
}

std::optional<Batch> Loader::next() {
  const auto began = std::chrono::steady_clock::now();
  std::shared_ptr<Work> work;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    if (given_ == started_ && started_ == batches_.size()) return std::nullopt;
    changed_.wait(lock, [&] {
      return !ahead_.empty() && ahead_.front()->done == ahead_.front()->indices.size();
    });
    work = std::move(ahead_.front());
    ahead_.pop_front();
    ++given_;
  }
  changed_.notify_all();
  waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
  if (work->error) std::rethrow_exception(work->error);
  return finished(*work);
}

Batch Loader::finished(Work& work) {
  Batch batch;
  batch.first = images_;
  batch.asked = work.indices.size();
  images_ += batch.asked;
  std::vector<int64_t> kept, labels;
  for (size_t slot = 0; slot < work.indices.size(); ++slot) {
    const size_t index = work.indices[slot];
    if (work.failures[slot]) {
      batch.skipped.push_back({dataset_.name(index), *work.failures[slot]});
      continue;
    }
    kept.push_back(static_cast<int64_t>(slot));
    if (dataset_.has_labels()) labels.push_back(dataset_.label(index));
  }
  if (kept.empty()) return batch;
  batch.images = batch.skipped.empty() ? work.images
                                       : work.images.index_select(0, at::tensor(kept, at::kLong));
  if (dataset_.has_labels()) batch.labels = at::tensor(labels, at::kLong);
  return batch;
}

}  // namespace fmtc::infer
