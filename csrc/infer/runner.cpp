#include "infer/runner.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "infer/image.h"
#include "infer/timing.h"

namespace fmtc::infer {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point began) {
  return std::chrono::duration<double>(Clock::now() - began).count();
}

void check_belongs(const Package& package, const Package& first) {
  if (!package.counts()) {
    throw Error(package.path() +
                " does not count its levels; export it with statistics=True, or by fmtc eval "
                "--export");
  }
  const bool same = package.network == first.network && package.preprocess == first.preprocess &&
                    package.input_shape == first.input_shape && package.device == first.device;
  if (same && package.measured.size() == first.measured.size()) return;
  throw Error(package.path() + " and " + first.path() +
              " are of different networks, inputs or devices; measure them one by one");
}

}  // namespace

Networks::Networks(const std::vector<std::string>& paths, const std::string& device) {
  for (const std::string& path : paths) {
    packages_.push_back(std::make_unique<Package>(path, device));
    check_belongs(*packages_.back(), first());
  }
  packages_.front()->load_plain();
  watch_coder();
}

std::vector<Description> Networks::descriptions() const {
  std::vector<Description> all;
  for (const auto& package : packages_) all.push_back(*package);
  return all;
}

std::vector<Content> Networks::calibration() const {
  std::set<Content> all;
  for (const auto& package : packages_) {
    all.insert(package->calibration.begin(), package->calibration.end());
  }
  return {all.begin(), all.end()};
}

void Networks::run(const Batch& batch, Evaluation& evaluation) {
  const auto began = Clock::now();
  const std::vector<at::Tensor> plain = packages_.front()->run_plain(batch.images);
  const double of_plain = seconds_since(began);
  seconds_ += of_plain;
  if (batch.labels.defined() && first().class_count > 0) {
    evaluation.reference.add(plain[first().shown], batch.labels);
  }
  for (size_t i = 0; i < packages_.size(); ++i) {
    take_coder_seconds();
    const auto start = Clock::now();
    const Coded coded = packages_[i]->run(batch.images);
    const double total = seconds_since(start);
    const CoderSeconds coder = take_coder_seconds();
    seconds_ += total;
    // A GPU's operators return before they are done.
    evaluation.points[i].add_seconds(total, first().on_cpu() ? &coder : nullptr, of_plain,
                                     batch.images.size(0));
    evaluation.points[i].add(coded, plain, batch.labels);
  }
}

}  // namespace fmtc::infer
